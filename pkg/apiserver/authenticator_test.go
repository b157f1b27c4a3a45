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
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
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
