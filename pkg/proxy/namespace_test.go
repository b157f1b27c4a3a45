// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWithinNamespace has what is in a namespace that the caller does not have be absent.
func TestWithinNamespace(t *testing.T) {
	const (
		ask    = viewPrefix + "tenantnamespaces/gas"
		secret = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"secrets \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"secrets"},"code":404}` + "\n"
	)
	for name, test := range map[string]struct {
		path      string
		hidden    bool
		wantAsked []string
		wantCode  int
		want      string
	}{
		"one of a namespace that is not there":  {"/api/v1/namespaces/gas/secrets/a", true, []string{"/api/v1/namespaces/gas/secrets/a", ask}, 404, secret},
		"all of a namespace that is not there":  {"/api/v1/namespaces/gas/secrets?limit=5", true, []string{"/api/v1/namespaces/gas/secrets?limit=5"}, 403, forbidden},
		"one of a namespace that is":            {"/api/v1/namespaces/gas/secrets/a", false, []string{"/api/v1/namespaces/gas/secrets/a", ask}, 403, forbidden},
		"watch":                                 {"/api/v1/namespaces/gas/secrets?watch=1", true, []string{"/api/v1/namespaces/gas/secrets?watch=1"}, 403, forbidden},
		"of no namespace":                       {"/api/v1/secrets", true, []string{"/api/v1/secrets"}, 403, forbidden},
		"cluster-scoped thing that has no view": {"/apis/rbac.authorization.k8s.io/v1/clusterroles/a", true, []string{"/apis/rbac.authorization.k8s.io/v1/clusterroles/a"}, 403, forbidden},
		"no resource":                           {"/metrics", true, []string{"/metrics"}, 403, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) {
				if test.hidden {
					respond(w, http.StatusNotFound, viewHidden)
				} else {
					respond(w, http.StatusOK, `{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"gas"}}`)
				}
			}))
			resp, got := f.get(t, test.path, "Authorization", "Bearer alice")
			if resp.StatusCode != test.wantCode || got != test.want {
				t.Errorf("want %d, %q, got %d, %q", test.wantCode, test.want, resp.StatusCode, got)
			}
			if diff := cmp.Diff(test.wantAsked, paths(f.upstream.asked())); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}
