// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/pkg/proxy"
)

// TestPathsAreUntouched has paths reach the API server as they are sent, but for the one
// that the proxy answers itself.
func TestPathsAreUntouched(t *testing.T) {
	type outcome struct {
		Code int
		// Asked is what the API server is asked for, and Body what the client gets.
		Asked, Body string
	}
	var asked string
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { asked = req.RequestURI }))
	defer upstream.Close()
	p, err := proxy.New(proxy.Config{Upstream: &rest.Config{Host: upstream.URL}, SharedCredential: true, Clock: clocktesting.NewFakeClock(time.Unix(0, 0))})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(besideHealth(p))
	defer server.Close()
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, want := range map[string]outcome{
		healthPath:          {http.StatusOK, "", "ok"},
		healthPath + "?a=b": {http.StatusOK, "", "ok"},
		healthPath + "/":    {http.StatusOK, healthPath + "/", ""},
		"//" + "_healthz":   {http.StatusOK, "//_healthz", ""},
		"/":                 {http.StatusOK, "/", ""},
		"/api/v1/namespaces/oil/services/web/proxy//a/../b/?c=//":   {http.StatusOK, "/api/v1/namespaces/oil/services/web/proxy//a/../b/?c=//", ""},
		"/api/v1/namespaces/oil/services/web/proxy/a%2Fb%20c%252Fd": {http.StatusOK, "/api/v1/namespaces/oil/services/web/proxy/a%2Fb%20c%252Fd", ""},
		"/api/v1/namespaces/oil//services/web/proxy//a%2Fb%20c":     {http.StatusOK, "/api/v1/namespaces/oil//services/web/proxy//a%2Fb%20c", ""},
	} {
		t.Run(path, func(t *testing.T) {
			asked = ""
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, outcome{resp.StatusCode, asked, string(body)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestConnectionsThatDoNothing has them end.
func TestConnectionsThatDoNothing(t *testing.T) {
	s := newHTTPServer("", nil)
	if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 {
		t.Errorf("headers may take %v, and the next request %v", s.ReadHeaderTimeout, s.IdleTimeout)
	}
}
