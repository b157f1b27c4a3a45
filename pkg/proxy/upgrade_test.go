// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// upgrade returns the answer to a request of HTTP/1.1 that asks for another protocol.
func (f *fixture) upgrade(tb testing.TB, method, path, protocol, body string) *http.Response {
	tb.Helper()
	transport := f.transport(tb, 1)
	req, err := http.NewRequestWithContext(tb.Context(), method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	req.Header.Set("Authorization", "Bearer alice")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	return resp
}

// TestUpgrade has bytes go both ways, and counts as what it is.
func TestUpgrade(t *testing.T) {
	for _, body := range []string{"", "{}"} {
		t.Run("with body "+body, func(t *testing.T) { testUpgrade(t, body) })
	}
}

func testUpgrade(t *testing.T, body string) {
	t.Helper()
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		got, err := io.ReadAll(req.Body)
		if err != nil || string(got) != body || req.Header.Get("Upgrade") != "SPDY/3.1" {
			t.Errorf("asked for %v, with %q, %v", req.Header, got, err)
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "SPDY/3.1")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close() //nolint:errcheck // the client closes, too
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		_, _ = stream.WriteString("you said " + line)
		_ = stream.Flush()
	})
	resp := f.upgrade(t, http.MethodPost, "/api/v1/namespaces/oil/pods/a/exec", "SPDY/3.1", body)
	defer resp.Body.Close()
	stream, ok := resp.Body.(io.ReadWriter)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d, %T", resp.StatusCode, resp.Body)
	}
	if _, err := io.WriteString(stream, "hello\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(stream).ReadString('\n')
	if err != nil || got != "you said hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if taken := f.proxy.rejected.taken.Keys(); len(taken) != 1 {
		t.Errorf("%d tokens are known to be good", len(taken))
	}
	_ = resp.Body.Close()
	f.counts(t, "/api/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}", "101")
}

// TestRefusedUpgrade has the API server refuse what was to become a stream: no view
// speaks its protocol.
func TestRefusedUpgrade(t *testing.T) {
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusNotFound, viewHidden) }))
	for _, path := range []string{"/api/v1/namespaces/gas/pods/a/exec?command=ls", "/api/v1/namespaces?watch=true"} {
		resp := f.upgrade(t, http.MethodGet, path, "websocket", "")
		got, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusForbidden || string(got) != forbidden {
			t.Errorf("%s: got %d, %q", path, resp.StatusCode, got)
		}
		if diff := cmp.Diff([]string{path}, paths(f.upstream.asked())); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	}
}
