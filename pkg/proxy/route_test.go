// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNamesInPaths sends names that mean something in a path, and looks at what arrives.
func TestNamesInPaths(t *testing.T) {
	const node, namespace = viewPrefix + "tenantnodes/", viewPrefix + "tenantnamespaces/"
	for given, want := range map[string][]string{
		"/api/v1/nodes/a":                          {node + "a"},
		"/api/v1/nodes/%2e":                        nil,
		"/api/v1/nodes/%2e%2e":                     nil,
		"/api/v1/nodes/%2E.":                       nil,
		"/api/v1/nodes/a%2fb":                      nil,
		"/api/v1/nodes/..%2f..":                    nil,
		"/api/v1/nodes/a%25b":                      nil,
		"/api/v1/nodes/%252e%252e":                 nil,
		"/api/v1/nodes/a%20b":                      {node + "a%20b"},
		"/api/v1/nodes/%3Fa%23":                    {node + "%3Fa%23"},
		"/api/v1/nodes/%C3%BC":                     {node + "%C3%BC"},
		"/api/v1/nodes/a:b,c":                      {node + "a:b%2Cc"},
		"/api/v1/namespaces/%2e%2e":                nil,
		"/api/v1/namespaces/%2e/secrets/a":         nil,
		"/api/v1/namespaces/%2e%2e/secrets/a":      nil,
		"/api/v1/namespaces/a%25b/secrets/a":       nil,
		"/api/v1/namespaces/a%20b/secrets/a":       {namespace + "a%20b"},
		"/api/v1/namespaces/gas/secrets/%2e%2e":    nil,
		"/api/v1/namespaces/gas/secrets/a%20b":     {namespace + "gas"},
		"/api/v1/namespaces/gas/pods/a/log":        {namespace + "gas"},
		"/api/v1/namespaces/gas/pods/a/proxy/logs": nil,
	} {
		for _, prefix := range []string{"", "/k8s/a%2Fb"} {
			t.Run(prefix+given, func(t *testing.T) {
				f := newFixtureWith(t, func(c *Config) { c.Upstream.Host += prefix }, func(w http.ResponseWriter, _ *http.Request) {
					respond(w, http.StatusForbidden, forbidden)
				})
				resp, _ := f.get(t, given, "Authorization", "Bearer alice")
				if resp.StatusCode != http.StatusForbidden {
					t.Errorf("got %d", resp.StatusCode)
				}
				want := append([]string{given}, want...)
				for i := range want {
					want[i] = prefix + want[i]
				}
				if diff := cmp.Diff(want, paths(f.upstream.asked())); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
		}
	}
}
