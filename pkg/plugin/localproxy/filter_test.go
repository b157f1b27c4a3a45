// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package localproxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func patterns(tb testing.TB, s string) Patterns {
	tb.Helper()
	p, err := ParsePatterns(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func defaults(tb testing.TB) Filter {
	tb.Helper()
	return Filter{
		AcceptHosts: patterns(tb, DefaultAcceptHosts), AcceptPaths: patterns(tb, DefaultAcceptPaths),
		RejectPaths: patterns(tb, DefaultRejectPaths), RejectMethods: patterns(tb, DefaultRejectMethods),
	}
}

func TestFilter(t *testing.T) {
	const get, post = http.MethodGet, http.MethodPost
	for name, test := range map[string]struct {
		configure          func(*Filter)
		method, path, host string
		header             http.Header
		want               bool
	}{
		"localhost":             {method: get, path: "/api", host: "localhost", want: true},
		"with a port":           {method: get, path: "/api", host: "localhost:8001", want: true},
		"address":               {method: post, path: "/api", host: "127.0.0.1:8001", want: true},
		"IPv6":                  {method: get, path: "/api", host: "[::1]", want: true},
		"IPv6 with a port":      {method: get, path: "/api", host: "[::1]:8001", want: true},
		"rebound name":          {method: get, path: "/api", host: "evil.example.com:8001"},
		"name that begins so":   {method: get, path: "/api", host: "localhost.example.com"},
		"address that ends so":  {method: get, path: "/api", host: "1.127.0.0.1"},
		"no dots":               {method: get, path: "/api", host: "127a0b0c1"},
		"no host":               {method: get, path: "/api"},
		"exec":                  {method: post, path: "/api/v1/namespaces/a/pods/b/exec", host: "localhost"},
		"attach":                {method: post, path: "/api/v1/namespaces/a/pods/b/attach", host: "localhost"},
		"log":                   {method: get, path: "/api/v1/namespaces/a/pods/b/log", host: "localhost", want: true},
		"any host":              {configure: func(f *Filter) { f.AcceptHosts = patterns(t, ".*") }, method: get, path: "/api", host: "a.example.com", want: true},
		"path not accepted":     {configure: func(f *Filter) { f.AcceptPaths = patterns(t, "^/api/v1/,^/apis/") }, method: get, path: "/healthz", host: "localhost"},
		"second path":           {configure: func(f *Filter) { f.AcceptPaths = patterns(t, "^/api/v1/,^/apis/") }, method: get, path: "/apis/apps", host: "localhost", want: true},
		"method rejected":       {configure: func(f *Filter) { f.RejectMethods = patterns(t, "POST,PUT") }, method: post, path: "/api", host: "localhost"},
		"method not rejected":   {configure: func(f *Filter) { f.RejectMethods = patterns(t, "POST,PUT") }, method: get, path: "/api", host: "localhost", want: true},
		"nothing is rejected":   {configure: func(f *Filter) { f.RejectPaths = nil }, method: post, path: "/api/v1/namespaces/a/pods/b/exec", host: "localhost", want: true},
		"nothing is accepted":   {configure: func(f *Filter) { f.AcceptPaths = nil }, method: get, path: "/api", host: "localhost"},
		"form of another site":  {method: post, path: "/api", host: "localhost:8001", header: http.Header{"Origin": {"https://evil.example.com"}}},
		"said by the browser":   {method: post, path: "/api", host: "localhost:8001", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		"page of the proxy":     {method: post, path: "/api", host: "localhost:8001", header: http.Header{"Origin": {"http://localhost:8001"}}, want: true},
		"link of another site":  {method: get, path: "/api", host: "localhost:8001", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}, want: true},
		"socket of another":     {method: get, path: "/api/v1/namespaces/a/pods/b/portforward", host: "localhost:8001", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"https://evil.example.com"}}},
		"socket of a program":   {method: get, path: "/api/v1/namespaces/a/pods/b/portforward", host: "localhost:8001", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, want: true},
		"socket of the proxy's": {method: get, path: "/api/v1/namespaces/a/pods/b/portforward", host: "localhost:8001", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"http://localhost:8001"}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := defaults(t)
			if test.configure != nil {
				test.configure(&f)
			}
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil)
			req.Host = test.host
			if test.header != nil {
				req.Header = test.header
			}
			served := false
			w := httptest.NewRecorder()
			f.handler(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
				served = got.Method == test.method
			})).ServeHTTP(w, req)
			if served != test.want {
				t.Errorf("served: want %t, got %t", test.want, served)
			}
			if !served && w.Code != http.StatusForbidden {
				t.Errorf("want a 403, got %d", w.Code)
			}
		})
	}
}

func TestPatternThatIsNone(t *testing.T) {
	if _, err := ParsePatterns("^a$,("); err == nil {
		t.Error("want an error")
	}
}
