// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package localproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
)

// Listen listens at a port of an address; at any port if it is 0.
func Listen(ctx context.Context, address string, port int) (net.Listener, error) {
	address = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// ListenUnix listens at a Unix socket, which nobody else can open. A socket that is there
// is replaced, a file of another kind is not.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look for socket: %w", err)
	case info.Mode()&fs.ModeSocket != 0:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove socket: %w", err)
		}
	}
	// The mode has to be right when the socket appears.
	restore := umask(0o077)
	defer restore()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// IsLoopback reports whether nobody but programs of this machine reaches a listener.
func IsLoopback(listener net.Listener) bool {
	address, ok := listener.Addr().(*net.TCPAddr)
	return !ok || address.IP.IsLoopback()
}
