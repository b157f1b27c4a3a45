// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestIgnored has nothing be asked of a view for whom a flag names, and the API server
// be asked once who it is.
func TestIgnored(t *testing.T) {
	const list, who, ask = "/api/v1/namespaces", "/apis/authentication.k8s.io/v1/selfsubjectreviews", viewPrefix + "tenantnamespaces"
	f := newFixtureWith(t, func(c *Config) { c.IgnoredUsers, c.IgnoredGroups = []string{"robot"}, []string{"operators"} }, func(w http.ResponseWriter, req *http.Request) {
		user := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
		switch {
		case strings.HasPrefix(req.URL.Path, viewPrefix):
			respond(w, http.StatusOK, viewOfOne)
		case req.URL.Path != who:
			respond(w, http.StatusForbidden, forbidden)
		case user == "":
			respond(w, http.StatusUnauthorized, forbidden)
		default:
			respond(w, http.StatusCreated, fmt.Sprintf(`{"status":{"userInfo":{"username":%q,"groups":[%q,"system:authenticated"]}}}`, user, map[string]string{"olga": "operators"}[user]))
		}
	})
	for _, step := range []struct {
		user string
		code int
		want []string
	}{
		{"alice", 200, []string{who, list, ask}},
		{"alice", 200, []string{ask}},
		{"robot", 403, []string{who, list}},
		{"robot", 403, []string{list}},
		{"olga", 403, []string{who, list}},
		{"", 200, []string{who, list, ask}},
	} {
		var header []string
		if step.user != "" {
			header = []string{"Authorization", "Bearer " + step.user}
		}
		resp, _ := f.get(t, list, header...)
		if resp.StatusCode != step.code {
			t.Errorf("%s: want %d, got %d", step.user, step.code, resp.StatusCode)
		}
		if diff := cmp.Diff(step.want, paths(f.upstream.asked())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.user, diff)
		}
	}
	f.clock.Step(knownFor + 1)
	_, _ = f.get(t, list, "Authorization", "Bearer robot")
	if diff := cmp.Diff([]string{who, list}, paths(f.upstream.asked())); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
}

// TestReviewOfSomebodyNotIgnored has the question of who asks, which is another request,
// leave the body of the caller's to be read.
func TestReviewOfSomebodyNotIgnored(t *testing.T) {
	given := `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}},"status":{"allowed":false}}`
	f := newFixtureWith(t, func(c *Config) { c.IgnoredUsers = []string{"robot"} }, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == accessReviews {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			respond(w, http.StatusCreated, string(body))
			return
		}
		respond(w, http.StatusCreated, `{"status":{"userInfo":{"username":"`+strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")+`"}}}`)
	})
	for _, user := range []string{"alice", "robot"} {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprintf("%s, HTTP %d", user, version), func(t *testing.T) {
				f.clock.Step(knownFor + 1)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+accessReviews, strings.NewReader(given))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+user)
				resp, err := f.client(t, version).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusCreated || resp.ProtoMajor != version {
					t.Fatalf("got %d, %q, %v", resp.StatusCode, got, err)
				}
				if diff := cmp.Diff(given, strings.TrimSpace(string(got))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}
