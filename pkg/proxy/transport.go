// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	clienttransport "k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// maxIdleConnections is how many connections are kept for the next request, where
	// HTTP/2 is not spoken.
	maxIdleConnections = 64
	// continueTimeout is how long the API server may take to say whether it wants a body
	// that the client keeps back, before it is sent all the same. It is that of
	// http.DefaultTransport.
	continueTimeout = time.Second
)

// transport sends requests to the API server: those with a user in the context in the name
// of that user and with the proxy's own credential, others as they are.
type transport struct {
	callers connections
	// own is empty where nobody is impersonated.
	own *connections
}

// connections send requests. What is to become a stream of another protocol needs a
// connection of its own, which HTTP/2 does not give.
type connections struct{ requests, upgrades http.RoundTripper }

// newTransport returns one to the API server of a configuration, whose credential is used
// for impersonation alone, if at all.
func newTransport(c *rest.Config, impersonates bool) (*transport, error) {
	callers, err := newConnections(rest.AnonymousClientConfig(c))
	if err != nil || !impersonates {
		return &transport{callers: callers}, err
	}
	own, err := newConnections(c)
	if err != nil {
		return nil, err
	}
	for _, rt := range []*http.RoundTripper{&own.requests, &own.upgrades} {
		if *rt, err = rest.HTTPWrappersForConfig(c, *rt); err != nil {
			return nil, fmt.Errorf("read credential for the API server: %w", err)
		}
	}
	return &transport{callers: callers, own: &own}, nil
}

func newConnections(c *rest.Config) (connections, error) {
	tlsConfig, err := rest.TLSConfigFor(c)
	if err != nil {
		return connections{}, fmt.Errorf("read CA of the API server: %w", err)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	requests := utilnet.SetTransportDefaults(&http.Transport{
		Proxy: c.Proxy, DialContext: c.Dial, TLSClientConfig: tlsConfig,
		// Bodies come out as they went in.
		DisableCompression: true,
		// Each has a client of its own to wait for it.
		MaxIdleConnsPerHost: maxIdleConnections,
		// A client that keeps its body back is not asked for it before the API server
		// wants it, and that asks for it once.
		ExpectContinueTimeout: continueTimeout,
	})
	upgrades := requests.Clone()
	upgrades.ForceAttemptHTTP2 = false
	upgrades.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	upgrades.TLSClientConfig.NextProtos = []string{"http/1.1"}
	return connections{requests, upgrades}, nil
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	caller, ok := apirequest.UserFrom(req.Context())
	if !ok {
		return t.callers.of(req).RoundTrip(req)
	}
	if t.own == nil {
		return nil, errors.New("nobody is impersonated here")
	}
	return clienttransport.NewImpersonatingRoundTripper(impersonationOf(caller), t.own.of(req)).RoundTrip(req)
}

func (c *connections) of(req *http.Request) http.RoundTripper {
	if httpstream.IsUpgradeRequest(req) {
		return c.upgrades
	}
	return c.requests
}

func (t *transport) closeIdleConnections() {
	for _, c := range []*connections{&t.callers, t.own} {
		if c != nil {
			utilnet.CloseIdleConnectionsFor(c.requests)
			utilnet.CloseIdleConnectionsFor(c.upgrades)
		}
	}
}
