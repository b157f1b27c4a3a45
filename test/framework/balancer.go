// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// controllerService is the name that the API server verifies webhooks for.
const controllerService = "tenancy-controller.tenancy-system.svc"

// BalanceWebhooks has the API server call the webhooks of several replicas, in turn,
// and those that do not run not at all, as a Service does in a cluster. It returns
// when the manifests say so; the API server follows within moments. A Service
// balances connections, of which the API server keeps one; this balances requests.
func (s *System) BalanceWebhooks(ctx context.Context, replicas ...*Controller) error {
	certs := s.layout.ControllerCerts(s.Controller.Name())
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, corev1.TLSCertKey), filepath.Join(certs, corev1.TLSPrivateKeyKey))
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "https" },
			Transport: newBalancer(pair.Leaf, replicas),
		},
		ReadHeaderTimeout: time.Minute,
	}
	go server.Serve(listener) //nolint:errcheck // it ends with the system
	s.lock.Lock()
	s.closers = append(s.closers, server)
	s.lock.Unlock()
	return s.apply(ctx, listener.Addr().(*net.TCPAddr).Port)
}

// balancer sends each request to the next of the replicas that takes it.
type balancer struct {
	replicas  []*Controller
	transport *http.Transport
	turn      atomic.Uint32
}

func newBalancer(cert *x509.Certificate, replicas []*Controller) *balancer {
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &balancer{replicas: replicas, transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: controllerService, MinVersion: tls.VersionTLS12},
	}}
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	err = errors.New("no replica runs")
	first := int(b.turn.Add(1))
	for i := range b.replicas {
		replica := b.replicas[(first+i)%len(b.replicas)]
		if !replica.Running() {
			continue
		}
		out := r.Clone(r.Context())
		out.URL.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(replica.Webhooks))
		out.Body = io.NopCloser(bytes.NewReader(body))
		var response *http.Response
		if response, err = b.transport.RoundTrip(out); err == nil {
			return response, nil
		}
		// A connection that is refused reached nobody. Any other error may be of a
		// request that somebody has judged: the API server is told.
		if opErr := (*net.OpError)(nil); !errors.As(err, &opErr) || opErr.Op != "dial" {
			return nil, err
		}
	}
	return nil, err
}
