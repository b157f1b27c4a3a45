// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRejectedCredentials has somebody try tokens, behind the address of others.
func TestRejectedCredentials(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer alice" && req.Header.Get("Authorization") != "" {
			respond(w, http.StatusUnauthorized, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
			return
		}
		respond(w, http.StatusOK, "{}")
	})
	ask := func(token string) (answer, string) {
		t.Helper()
		return f.get(t, "/api/v1/pods", "Authorization", "Bearer "+token)
	}
	for i := range rejectedBurst {
		if resp, _ := ask(fmt.Sprint("guess-", i)); resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: want 401, got %d", i, resp.StatusCode)
		}
		if i == 0 {
			ask("alice")
		}
	}
	f.upstream.asked()
	resp, body := ask("another guess")
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("want 429 and when to try again, got %d, %v", resp.StatusCode, resp.Header)
	}
	if status, _, err := decodeStatus([]byte(body), "application/json"); err != nil || status.Reason != metav1.StatusReasonTooManyRequests {
		t.Errorf("want a Status, got %q", body)
	}
	if asked := paths(f.upstream.asked()); len(asked) > 0 {
		t.Errorf("what was refused arrives: %q", asked)
	}
	if resp, _ := ask("alice"); resp.StatusCode != http.StatusOK {
		t.Errorf("who was let in before is not: %d", resp.StatusCode)
	}
	if resp, _ := f.get(t, "/version"); resp.StatusCode != http.StatusOK {
		t.Errorf("who has no credential is not let through: %d", resp.StatusCode)
	}
	f.clock.Step(time.Second / rejectedPerSecond)
	if resp, _ := ask("later"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("later: want 401, got %d", resp.StatusCode)
	}
	if resp, _ := ask("too soon again"); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("too soon again: want 429, got %d", resp.StatusCode)
	}
	f.clock.Step(suspectedFor)
	for i := range 2 {
		if resp, _ := ask(fmt.Sprint("much-later-", i)); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("much later: want 401, got %d", resp.StatusCode)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for given, want := range map[string]string{"192.0.2.1:4711": "192.0.2.1", "[2001:db8::1]:4711": "2001:db8::1", "@": "@"} {
		req := &http.Request{RemoteAddr: given, Header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}}
		if got := addressOf(req); got != want {
			t.Errorf("%q: want %q, got %q", given, want, got)
		}
	}
}
