// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const unauthorized = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`

// knowsAlice takes the token of alice, and no other.
func knowsAlice(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "Bearer alice" && req.Header.Get("Authorization") != "" {
		respond(w, http.StatusUnauthorized, unauthorized)
		return
	}
	respond(w, http.StatusOK, "{}")
}

// TestRejectedCredentials has somebody try tokens, behind the address of others.
func TestRejectedCredentials(t *testing.T) {
	f := newFixture(t, knowsAlice)
	ask := func(token string) (answer, string) {
		t.Helper()
		return f.get(t, "/api/v1/pods", "Authorization", "Bearer "+token)
	}
	ask("alice")
	for i := range rejectedBurst {
		if resp, _ := ask(fmt.Sprint("guess-", i)); resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: want 401, got %d", i, resp.StatusCode)
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
	for _, as := range []string{"", "bob"} {
		header := []string{"Authorization", "Bearer alice"}
		if as != "" {
			header = append(header, "Impersonate-User", as)
		}
		if resp, _ := f.get(t, "/api/v1/pods", header...); resp.StatusCode != http.StatusOK {
			t.Errorf("who was let in before, as %q, is not: %d", as, resp.StatusCode)
		}
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
	f.clock.Step(budgetFor)
	for i := range 2 {
		if resp, _ := ask(fmt.Sprint("much-later-", i)); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("much later: want 401, got %d", resp.StatusCode)
		}
	}
}

// TestRejectedCredentialsAtOnce has somebody try tokens without waiting for the answers.
func TestRejectedCredentialsAtOnce(t *testing.T) {
	arrived, release := make(chan struct{}, rejectedBurst+1), make(chan struct{})
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/held" {
			arrived <- struct{}{}
			<-release
		}
		knowsAlice(w, req)
	})
	ask := func(path, token string) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		f.proxy.ServeHTTP(w, req)
		return w.Code
	}
	var held sync.WaitGroup
	hold := func(token string, want int) {
		held.Go(func() {
			if got := ask("/held", token); got != want {
				t.Errorf("%s: want %d, got %d", token, want, got)
			}
		})
		<-arrived
	}
	for i := range rejectedBurst - 1 {
		hold(fmt.Sprint("guess-", i), http.StatusUnauthorized)
	}
	hold("alice", http.StatusOK)
	if got := ask("/", "guess"); got != http.StatusTooManyRequests {
		t.Errorf("one too many: want 429, got %d", got)
	}
	close(release)
	held.Wait()
	// That of alice is given back, and hers cost nothing from then on.
	var got []int
	for _, token := range []string{"alice", "alice", "guess", "guess", "alice"} {
		got = append(got, ask("/", token))
	}
	if diff := cmp.Diff([]int{200, 200, 401, 429, 200}, got); diff != "" {
		t.Errorf("after the answers (-want +got):\n%s", diff)
	}
}

// TestWhatIsRejected looks at what an answer has the proxy think of a token.
func TestWhatIsRejected(t *testing.T) {
	const application = "/api/v1/namespaces/oil/services/a/proxy/x"
	upgrade := func(protocols ...string) []string {
		header := []string{"Connection", "keep-alive, upgrade", "Upgrade", "WebSocket"}
		for _, p := range protocols {
			header = append(header, "Sec-Websocket-Protocol", p)
		}
		return header
	}
	alice := []string{"Authorization", "Bearer alice"}
	// What is known of tokens, and what the address may send.
	type outcome struct {
		Taken int
		Left  float64
	}
	known, neither, costsOne := outcome{1, rejectedBurst}, outcome{0, rejectedBurst}, outcome{0, rejectedBurst - 1}
	for name, test := range map[string]struct {
		method, path string
		header       []string
		code         int
		want         outcome
	}{
		"taken":                           {"GET", "/api/v1/pods", alice, 200, known},
		"taken, without what it wants":    {"GET", "/api/v1/pods", alice, 403, known},
		"taken, with nothing there":       {"GET", "/x", alice, 404, known},
		"taken, with nothing that is new": {"GET", "/openapi/v2", alice, 304, known},
		"rejected":                        {"GET", "/api/v1/pods", alice, 401, costsOne},
		"of an application":               {"GET", application, alice, 200, known},
		"rejected by whom?":               {"GET", application, alice, 401, costsOne},
		"too many requests":               {"GET", "/api/v1/pods", alice, 429, costsOne},
		"not understood":                  {"GET", "/api/v1/pods", alice, 400, costsOne},
		"nobody there":                    {"GET", "/api/v1/pods", alice, 503, costsOne},
		"asked of another origin":         {"OPTIONS", "/api/v1/pods", alice, 204, costsOne},
		"another scheme":                  {"GET", "/api/v1/pods", []string{"Authorization", "Basic eDp5"}, 403, neither},
		"nobody":                          {"GET", "/api/v1/pods", nil, 401, neither},
		"subprotocol":                     {"GET", "/api/v1/pods", upgrade("a, " + bearerProtocol + "eA"), 403, known},
		"subprotocol of no WebSocket":     {"GET", "/api/v1/pods", []string{"Sec-Websocket-Protocol", "a, " + bearerProtocol + "eA"}, 403, neither},
		"subprotocol of what is sent on as none": {
			"GET", "/api/v1/pods", []string{"Connection", "x-upgrade", "Upgrade", "websocket", "Sec-Websocket-Protocol", "a, " + bearerProtocol + "eA"}, 403, neither,
		},
		"two tokens, of which one is good": {"GET", "/api/v1/pods", slices.Concat(alice, upgrade("a, "+bearerProtocol+"eA")), 403, neither},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.code) })
			req := httptest.NewRequestWithContext(t.Context(), test.method, "https://proxy"+test.path, nil)
			for pair := range slices.Chunk(test.header, 2) {
				req.Header.Add(pair[0], pair[1])
			}
			w := httptest.NewRecorder()
			f.proxy.ServeHTTP(w, req)
			if w.Code != test.code {
				t.Errorf("want %d, got %d", test.code, w.Code)
			}
			r := f.proxy.rejected
			r.lock.Lock()
			defer r.lock.Unlock()
			got := outcome{len(r.taken.Keys()), r.budgetLocked(addressOf(req)).left}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddressOf(t *testing.T) {
	for given, want := range map[string]string{
		"192.0.2.1:4711": "192.0.2.1", "[::ffff:192.0.2.1]:4711": "192.0.2.1", "@": "@",
		"[2001:db8::1]:4711": "2001:db8::/64", "[2001:db8::ffff:0:0:1]:4711": "2001:db8::/64", "[2001:db8:0:1::1]:4711": "2001:db8:0:1::/64",
		"[fe80::1%eth0]:4711": "fe80::/64",
	} {
		req := &http.Request{RemoteAddr: given, Header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}}
		if got := addressOf(req); got != want {
			t.Errorf("%q: want %q, got %q", given, want, got)
		}
	}
}
