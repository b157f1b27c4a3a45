// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// upstream is an API server that notes what it is asked.
type upstream struct {
	*httptest.Server

	// lock protects requests.
	lock     sync.Mutex
	requests []*http.Request
}

// newUpstream starts an API server that answers by handler, if that is not nil.
func newUpstream(tb testing.TB, handler http.HandlerFunc) *upstream {
	tb.Helper()
	u := &upstream{}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		u.lock.Lock()
		u.requests = append(u.requests, req.Clone(context.WithoutCancel(req.Context())))
		u.lock.Unlock()
		handler(w, req)
	}))
	u.EnableHTTP2 = true
	u.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	u.StartTLS()
	tb.Cleanup(u.Close)
	return u
}

// asked returns what it was asked since it was asked last.
func (u *upstream) asked() []*http.Request {
	u.lock.Lock()
	defer u.lock.Unlock()
	asked := u.requests
	u.requests = nil
	return asked
}

// paths returns the paths and queries of requests.
func paths(requests []*http.Request) []string {
	var paths []string
	for _, req := range requests {
		paths = append(paths, req.URL.RequestURI())
	}
	return paths
}

// fixture is a proxy in front of an API server.
type fixture struct {
	upstream *upstream
	clock    *clocktesting.FakeClock
	proxy    *Proxy
	server   *httptest.Server
}

func newFixture(tb testing.TB, handler http.HandlerFunc) *fixture {
	tb.Helper()
	return newFixtureWith(tb, func(*Config) {}, handler)
}

// newFixtureWith returns one whose proxy is not the plainest.
func newFixtureWith(tb testing.TB, configure func(*Config), handler http.HandlerFunc) *fixture {
	tb.Helper()
	f := &fixture{upstream: newUpstream(tb, handler), clock: clocktesting.NewFakeClock(time.Unix(0, 0))}
	config := Config{
		AuthTypes: []AuthType{BearerToken},
		Upstream: &rest.Config{
			Host:        f.upstream.URL,
			BearerToken: "the proxy's own",
			TLSClientConfig: rest.TLSClientConfig{
				CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.upstream.Certificate().Raw}),
			},
		},
		Clock: f.clock,
	}
	configure(&config)
	p, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}
	f.proxy = p
	f.server = httptest.NewUnstartedServer(p)
	f.server.EnableHTTP2 = true
	f.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	f.server.StartTLS()
	tb.Cleanup(func() {
		f.server.Client().CloseIdleConnections()
		f.server.Close()
		p.transport.closeIdleConnections()
	})
	return f
}

// transport returns one to the proxy that speaks a version of HTTP, and keeps a body back as
// long as it says that it does.
func (f *fixture) transport(tb testing.TB, version int) *http.Transport {
	tb.Helper()
	transport := f.server.Client().Transport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.Protocols, transport.ExpectContinueTimeout = &http.Protocols{}, time.Hour
	transport.TLSClientConfig.NextProtos = nil
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetHTTP2(version == 2)
	tb.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client returns one with such a transport.
func (f *fixture) client(tb testing.TB, version int) *http.Client {
	tb.Helper()
	return &http.Client{Transport: f.transport(tb, version), Timeout: time.Minute}
}

// answer is an answer without its body.
type answer struct {
	StatusCode int
	Header     http.Header
}

// get returns the answer to a GET, and its body.
func (f *fixture) get(tb testing.TB, path string, header ...string) (answer, string) {
	tb.Helper()
	resp := f.open(tb, path, header...)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}, string(body)
}

// open returns the answer to a GET, whose body is for the caller to close. The header is
// names and values in turn.
func (f *fixture) open(tb testing.TB, path string, header ...string) *http.Response {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, f.server.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Add(pair[0], pair[1])
	}
	transport, _ := f.server.Client().Transport.(*http.Transport)
	transport.DisableCompression = true
	resp, err := f.server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	return resp
}

const viewPrefix = "/apis/tenancy.capsule.io/v1alpha1/"

// respond writes an answer in JSON.
func respond(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body) //nolint:gosec // it is a test's own
}
