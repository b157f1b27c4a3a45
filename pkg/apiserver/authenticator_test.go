// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

func TestNoAnonymous(t *testing.T) {
	t.Parallel()
	const view = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	certified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	anonymous := &authenticator.Response{User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}}
	alice := &authenticator.Response{User: &user.DefaultInfo{Name: "alice"}}
	failure := errors.New("no API server to ask")

	type answer struct {
		response *authenticator.Response
		ok       bool
		err      error
	}
	for name, test := range map[string]struct {
		path     string
		tls      *tls.ConnectionState
		delegate answer
		want     answer
	}{
		"anonymous without TLS":           {path: view, delegate: answer{response: anonymous, ok: true}},
		"anonymous without a certificate": {path: view, tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}},
		"anonymous at the root":           {path: "/", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}},
		"anonymous at metrics":            {path: "/metrics", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}},
		"anonymous at /healthzfoo":        {path: "/healthzfoo", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}},
		"anonymous at /apis/healthz":      {path: "/apis/healthz", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}},
		"anonymous at /healthz":           {path: "/healthz", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}, want: answer{response: anonymous, ok: true}},
		"anonymous at /livez":             {path: "/livez", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}, want: answer{response: anonymous, ok: true}},
		"anonymous at /readyz":            {path: "/readyz", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}, want: answer{response: anonymous, ok: true}},
		"anonymous at a check":            {path: "/readyz/feed-namespaces", tls: &tls.ConnectionState{}, delegate: answer{response: anonymous, ok: true}, want: answer{response: anonymous, ok: true}},
		"anonymous, passed on":            {path: view, tls: certified, delegate: answer{response: anonymous, ok: true}, want: answer{response: anonymous, ok: true}},
		"a user":                          {path: view, tls: &tls.ConnectionState{}, delegate: answer{response: alice, ok: true}, want: answer{response: alice, ok: true}},
		"a user, passed on":               {path: view, tls: certified, delegate: answer{response: alice, ok: true}, want: answer{response: alice, ok: true}},
		"nobody":                          {path: view, tls: certified},
		"nobody at /healthz":              {path: "/healthz"},
		"an error":                        {path: view, tls: certified, delegate: answer{err: failure}, want: answer{err: failure}},
		"an error with an answer":         {path: view, delegate: answer{response: anonymous, ok: true, err: failure}, want: answer{response: anonymous, ok: true, err: failure}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path, nil)
			req.TLS = test.tls
			var asked *http.Request
			response, ok, err := noAnonymous(authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
				asked = req
				return test.delegate.response, test.delegate.ok, test.delegate.err
			})).AuthenticateRequest(req)
			assert.Equal(t, test.want, answer{response, ok, err})
			assert.Same(t, req, asked, "the request that the delegate sees")
		})
	}
}

// lateCA is a CA bundle that is read some time.
type lateCA struct {
	dynamiccertificates.CAContentProvider
	bundle []byte
}

func (c *lateCA) CurrentCABundleContent() []byte { return c.bundle }

// TestAwaitCA holds that a request which comes before the front proxy can be told
// from others is asked to come back, and not refused.
func TestAwaitCA(t *testing.T) {
	t.Parallel()
	ca := &lateCA{}
	guard := requestHeaderGuard{allowAny: true, config: &authenticatorfactory.RequestHeaderConfig{
		AllowedClientNames: headerrequest.StaticStringSlice{}, CAContentProvider: ca,
	}}
	handler := guard.awaitCA(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	ask := func(path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return recorder
	}
	const view = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	answer := ask(view)
	assert.Equal(t, http.StatusServiceUnavailable, answer.Code)
	assert.Equal(t, "1", answer.Header().Get("Retry-After"))
	assert.Contains(t, answer.Body.String(), `"reason":"ServiceUnavailable"`)
	assert.Contains(t, answer.Body.String(), errNoRequestHeaderCA.Error())
	assert.Equal(t, http.StatusTeapot, ask("/livez").Code)
	require.ErrorIs(t, guard.ready(), errNoRequestHeaderCA)
	require.NoError(t, guard.check(), "it is no reason not to start")

	ca.bundle = []byte("a certificate")
	assert.Equal(t, http.StatusTeapot, ask(view).Code)
	require.NoError(t, guard.ready())
	guard.allowAny = false
	require.ErrorIs(t, guard.ready(), errAnyRequestHeaderName)
}
