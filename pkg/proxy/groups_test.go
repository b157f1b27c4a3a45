// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImpersonatedGroups looks at what arrives of requests in somebody else's name.
func TestImpersonatedGroups(t *testing.T) {
	filter := GroupFilter{Only: regexp.MustCompile("^team-"), Except: []*regexp.Regexp{regexp.MustCompile("-old$"), regexp.MustCompile("x{3}")}}
	for name, test := range map[string]struct {
		filter       GroupFilter
		user         string
		groups, want []string
	}{
		"none configured":    {GroupFilter{}, "bob", []string{"a", "b"}, []string{"a", "b"}},
		"some stay":          {filter, "bob", []string{"team-a", "dev", "team-b-old", "team-xxx", "team-c"}, []string{"team-a", "team-c"}},
		"none stays":         {filter, "bob", []string{"dev"}, nil},
		"only except":        {GroupFilter{Except: filter.Except}, "bob", []string{"dev", "a-old"}, []string{"dev"}},
		"nobody is named":    {filter, "", []string{"dev", "team-a"}, []string{"dev", "team-a"}},
		"groups in one line": {filter, "bob", []string{"team-a, dev"}, []string{"team-a, dev"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureWith(t, func(c *Config) { c.ImpersonatedGroups = test.filter }, func(w http.ResponseWriter, _ *http.Request) {
				respond(w, http.StatusOK, "{}")
			})
			header := []string{"Authorization", "Bearer alice"}
			if test.user != "" {
				header = append(header, "Impersonate-User", test.user)
			}
			for _, group := range test.groups {
				header = append(header, "Impersonate-Group", group)
			}
			f.get(t, "/api/v1/pods", header...)
			for _, req := range f.upstream.asked() {
				if diff := cmp.Diff(test.want, req.Header["Impersonate-Group"]); diff != "" {
					t.Errorf("groups (-want +got):\n%s", diff)
				}
				if got := req.Header.Get("Impersonate-User"); got != test.user {
					t.Errorf("want user %q, got %q", test.user, got)
				}
			}
		})
	}
}
