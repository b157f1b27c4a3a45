// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

const (
	loopbackHost = "127.0.0.1"
	// portTries is how often a start is repeated on other ports when somebody
	// took one between its choice and its use.
	portTries = 5

	lowestPort        = 10000
	firstEphemeralStd = 32768
)

// errPortTaken marks the failed start of a process whose port was in use.
var errPortTaken = errors.New("port is in use")

// FreePort returns a port of 127.0.0.1 that nobody listens on at the moment.
// It avoids the range from which the kernel serves outgoing connections: a
// server that restarts on its port must not find it taken by one of those.
func FreePort() (int, error) {
	limit := firstEphemeral()
	for range 100 {
		if limit <= lowestPort+1000 {
			break
		}
		port := lowestPort + rand.IntN(limit-lowestPort)
		if CheckPort(port) == nil {
			return port, nil
		}
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(loopbackHost, "0"))
	if err != nil {
		return 0, fmt.Errorf("find free port: %w", err)
	}
	defer listener.Close() //nolint:errcheck // nobody has connected
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// CheckPort returns an error if the port cannot be listened on.
func CheckPort(port int) error {
	listener, err := net.Listen("tcp4", net.JoinHostPort(loopbackHost, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen on port %d: %w: %w", port, errPortTaken, err)
	}
	return listener.Close()
}

// firstEphemeral returns where the kernel's range of local ports begins.
func firstEphemeral() int {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return firstEphemeralStd
	}
	var first, last int
	if _, err := fmt.Sscan(string(data), &first, &last); err != nil {
		return firstEphemeralStd
	}
	return first
}

// freePorts returns n different free ports.
func freePorts(n int) ([]int, error) {
	seen := make(map[int]bool, n)
	ports := make([]int, 0, n)
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		if !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports, nil
}

func loopbackURL(port int) string {
	return "https://" + net.JoinHostPort(loopbackHost, strconv.Itoa(port))
}
