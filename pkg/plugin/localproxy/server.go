// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package localproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"tenancy.capsule.io/pkg/proxy"
)

// readHeaderTimeout is as long as the API server takes, see
// k8s.io/apiserver/pkg/server/secure_serving.go.
const readHeaderTimeout = 32 * time.Second

// Config says what is served.
type Config struct {
	// Upstream reaches the API server with the credential of the user.
	Upstream *rest.Config
	Filter   Filter
	// APIPrefix is the path below which the API is served.
	APIPrefix string
}

// NewHandler returns what serves the API. It fails if the API server or the prefix cannot
// be understood.
func NewHandler(c Config) (http.Handler, error) {
	prefix := c.APIPrefix
	if !strings.HasPrefix(prefix, "/") || strings.ContainsAny(prefix, "{} \t") {
		return nil, fmt.Errorf("the prefix of the API %q is no path: begin it with \"/\"", prefix)
	}
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	p, err := proxy.New(proxy.Config{Upstream: c.Upstream, SharedCredential: true, Clock: clock.RealClock{}})
	if err != nil {
		return nil, err
	}
	handler := c.Filter.handler(p)
	// As kubectl proxy has it: /api/ serves a part of the API, other prefixes all of it.
	if !strings.HasPrefix(prefix, "/api") {
		handler = http.StripPrefix(strings.TrimSuffix(prefix, "/"), handler)
	}
	// The mux cleans paths, so that the filter and the API server read the same.
	mux := http.NewServeMux()
	mux.Handle(prefix, handler)
	return mux, nil
}

// Serve serves until the context is done.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout}
	// Watches have no end to wait for, and the user wants one.
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
