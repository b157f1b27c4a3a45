// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/tls"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/util/httpstream"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// transport sends requests to the API server as they are. What is to become a stream of
// another protocol needs a connection of its own, which HTTP/2 does not give.
type transport struct {
	requests, upgrades http.RoundTripper
}

// newTransport returns one that trusts whom the configuration trusts, and shows nobody's
// credential.
func newTransport(c *rest.Config) (*transport, error) {
	tlsConfig, err := rest.TLSConfigFor(rest.AnonymousClientConfig(c))
	if err != nil {
		return nil, fmt.Errorf("read CA of the API server: %w", err)
	}
	requests := utilnet.SetTransportDefaults(&http.Transport{
		Proxy: c.Proxy, DialContext: c.Dial, TLSClientConfig: tlsConfig,
		// Bodies come out as they went in.
		DisableCompression: true,
		// Each has a client of its own to wait for it.
		MaxIdleConnsPerHost: maxIdleConnections,
	})
	upgrades := requests.Clone()
	upgrades.ForceAttemptHTTP2 = false
	upgrades.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if upgrades.TLSClientConfig != nil {
		upgrades.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return &transport{requests, upgrades}, nil
}

// maxIdleConnections is how many connections are kept for the next request, where HTTP/2
// is not spoken.
const maxIdleConnections = 64

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if httpstream.IsUpgradeRequest(req) {
		return t.upgrades.RoundTrip(req)
	}
	return t.requests.RoundTrip(req)
}

func (t *transport) closeIdleConnections() {
	utilnet.CloseIdleConnectionsFor(t.requests)
	utilnet.CloseIdleConnectionsFor(t.upgrades)
}
