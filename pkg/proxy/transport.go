// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	clientmetrics "k8s.io/client-go/tools/metrics"
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
// of that user and with the proxy's own credential, others as they are, or with the
// credential that is every caller's.
type transport struct {
	callers connections
	// own is empty where nobody is impersonated.
	own *connections
}

// connections send requests. What is to become a stream of another protocol needs a
// connection of its own, which HTTP/2 does not give.
type connections struct{ requests, upgrades http.RoundTripper }

// newTransport returns one to the API server of a proxy's configuration, whose credential is
// used if it is every caller's, or for impersonation, and else not at all.
func newTransport(c Config) (*transport, error) {
	if c.SharedCredential {
		// As kubectl proxy has it, what a request says of itself goes before: one that
		// comes with an Authorization header keeps it, and one with an Impersonate-User
		// header is not impersonated otherwise. Neither gives a caller more than it has
		// already, who may ask everything in the name of the user; and whom the user may
		// impersonate the API server judges.
		shared, err := newOwnConnections(c.Upstream)
		return &transport{callers: shared}, err
	}
	callers, err := newConnections(rest.AnonymousClientConfig(c.Upstream))
	if err != nil || c.Certificates == nil {
		return &transport{callers: callers}, err
	}
	own, err := newOwnConnections(c.Upstream)
	return &transport{callers: callers, own: &own}, err
}

// newOwnConnections returns connections that send requests with the credential of their
// configuration.
func newOwnConnections(c *rest.Config) (connections, error) {
	own, err := newConnections(c)
	if err != nil {
		return connections{}, err
	}
	for _, rt := range []*http.RoundTripper{&own.requests, &own.upgrades} {
		if *rt, err = rest.HTTPWrappersForConfig(c, *rt); err != nil {
			return connections{}, fmt.Errorf("read credential for the API server: %w", err)
		}
	}
	return own, nil
}

func newConnections(c *rest.Config) (connections, error) {
	config, err := c.TransportConfig()
	if err != nil {
		return connections{}, fmt.Errorf("read how to reach the API server: %w", err)
	}
	tlsConfig, err := clienttransport.TLSConfigFor(config)
	if err != nil {
		return connections{}, fmt.Errorf("read CA of the API server: %w", err)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	var dial func(context.Context, string, string) (net.Conn, error)
	if config.DialHolder != nil {
		// That of an exec plugin ends connections whose client certificate it replaces.
		dial = config.DialHolder.Dial
	}
	requests := utilnet.SetTransportDefaults(&http.Transport{
		Proxy: c.Proxy, DialContext: dial, TLSClientConfig: tlsConfig,
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

// RoundTrip implements http.RoundTripper. It counts as client-go's clients do, which are not
// what asks here.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.send(req)
	code := "<error>"
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
		endTogether(req.Context(), resp)
	}
	clientmetrics.RequestResult.Increment(req.Context(), code, methodOf(req), req.URL.Host)
	return resp, err
}

// methodOf returns the method of a request for a metric's label: those that are no standard
// ones are one, for a client could invent any number of them.
func methodOf(req *http.Request) string {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return req.Method
	}
	return "other"
}

func (t *transport) send(req *http.Request) (*http.Response, error) {
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
