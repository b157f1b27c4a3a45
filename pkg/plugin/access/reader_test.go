// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
)

func TestRead(t *testing.T) {
	const wide = `TENANT   RESOURCE            VERBS                         COUNT   VIEW                      NAMES
gas      namespaces          get,list,watch                1       tenantnamespaces          gas-1
gas      tenants             get,list,watch                1       mytenants                 gas
oil      namespaces          get,list,watch,delete         2       tenantnamespaces          oil-1,oil-2
oil      persistentvolumes   get,list,watch                1       tenantpersistentvolumes   data-01
oil      tenants             get,list,watch                1       mytenants                 oil
<none>   namespaces          get,list,watch                1       tenantnamespaces          shared
<none>   nodes               get,list,watch                2       tenantnodes               node-1,node-2
<none>   storageclasses      get,list,watch                1       tenantstorageclasses      cephfs
<none>   storageclasses      get,list,watch,update,patch   1       tenantstorageclasses      custom
`
	c := alice()
	got, err := c.reader(t).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := got.Print(&table, FormatWide, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wide, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&User{"alice", []string{"capsule.clastix.io"}}, got.User); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if len(got.Warnings) > 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
	slices.Sort(c.reviewed)
	if diff := cmp.Diff([]string{"gas-1", "oil-1", "oil-2", "shared", nowhere}, c.reviewed); diff != "" {
		t.Errorf("reviewed (-want +got):\n%s", diff)
	}
}

// TestReadOfAdministrator asks for no rules but those of the cluster, which allow all.
func TestReadOfAdministrator(t *testing.T) {
	c := alice()
	c.rules = []authorizationv1.ResourceRule{rule("*", "*", "*")}
	got, err := c.reader(t).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range got.Items {
		if diff := cmp.Diff([]string{"get", "list", "watch", "update", "patch", "delete"}, item.Verbs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", item.Resource, diff)
		}
	}
	if diff := cmp.Diff([]string{nowhere}, c.reviewed); diff != "" {
		t.Errorf("reviewed (-want +got):\n%s", diff)
	}
}

// TestReadOfNamespacesWithoutEnd asks for the rules of so many, and says so.
func TestReadOfNamespacesWithoutEnd(t *testing.T) {
	c := alice()
	c.views = map[string][]string{"tenantnamespaces": nil}
	for i := range maxReviews + 1 {
		c.views["tenantnamespaces"] = append(c.views["tenantnamespaces"], fmt.Sprintf("oil-%04d@oil", i))
	}
	got, err := c.reader(t).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.reviewed) != maxReviews+1 {
		t.Errorf("asked for the rules of %d namespaces", len(c.reviewed))
	}
	want := []string{"the rules were asked for in the first 500 of 501 namespaces: verbs of the others may be missing"}
	if diff := cmp.Diff(want, got.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestReadWithoutAllRules asks about every object.
func TestReadWithoutAllRules(t *testing.T) {
	c := alice()
	c.views = map[string][]string{"tenantnamespaces": {"oil-1@oil", "oil-2@oil"}, "tenantstorageclasses": {"cephfs", "custom"}}
	c.incomplete = "a webhook cannot list them"
	c.allowed = []string{"update oil-1/namespaces/oil-1", "patch oil-1/namespaces/oil-1", "update /namespaces/oil-2", "delete /storageclasses/custom"}
	got, err := c.reader(t).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := got.Print(&table, "", false); err != nil {
		t.Fatal(err)
	}
	const want = `oil namespaces get,list,watch,delete 1 oil-2
oil namespaces get,list,watch,update,patch,delete 1 oil-1
<none> storageclasses get,list,watch 1 cephfs
<none> storageclasses get,list,watch,update,patch,delete 1 custom`
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(table.String())); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	// Of four objects with three verbs, four are allowed by the rules.
	if c.asked != 8 || len(got.Warnings) > 0 {
		t.Errorf("%d questions, warnings %q", c.asked, got.Warnings)
	}
}

// TestReadOfLittle has the cluster not answer everything.
func TestReadOfLittle(t *testing.T) {
	const rulesReviews = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
	for name, test := range map[string]struct {
		change func(*cluster)
		// wantErr and wantWarnings are what is said, wantItems whether anything is known.
		wantErr      []string
		wantWarnings []string
		wantItems    bool
	}{
		"not served": {
			change:  func(c *cluster) { c.statuses = map[string]int{views: 404} },
			wantErr: []string{"does not serve tenancy.capsule.io/v1alpha1", "--context", "install tenancy-apiserver"},
		},
		"not available": {
			change:  func(c *cluster) { c.statuses = map[string]int{views: 503} },
			wantErr: []string{"tenancy-apiserver does not answer", `"kubectl get apiservice v1alpha1.tenancy.capsule.io"`},
		},
		"not for the user": {
			change: func(c *cluster) {
				c.statuses = map[string]int{}
				for view := range c.views {
					c.statuses[views+"/"+view] = 403
				}
			},
			wantErr: []string{"you may list none of the views", "tenancy:viewer"},
		},
		"one view not for the user": {
			change:       func(c *cluster) { c.statuses = map[string]int{views + "/tenantnodes": 403} },
			wantWarnings: []string{"refused: /apis/tenancy.capsule.io/v1alpha1/tenantnodes"}, wantItems: true,
		},
		"one view fails": {
			change:  func(c *cluster) { c.statuses = map[string]int{views + "/tenantnodes": 503} },
			wantErr: []string{"list tenantnodes: "}, wantItems: true,
		},
		"no rules": {
			change:  func(c *cluster) { c.statuses = map[string]int{rulesReviews: 403} },
			wantErr: []string{"verbs beyond get and list are not known"}, wantItems: true,
		},
		"too many rules are missing": {
			change: func(c *cluster) {
				c.incomplete = "a webhook cannot list them"
				c.views = map[string][]string{"tenantnodes": strings.Fields(strings.Repeat("node ", maxReviews))}
			},
			wantWarnings: []string{"the API server cannot list all rules, so that verbs beyond get and list may be missing: a webhook cannot list them"}, wantItems: true,
		},
		"nobody knows who": {
			change: func(c *cluster) {
				c.statuses = map[string]int{"/apis/authentication.k8s.io/v1/selfsubjectreviews": 403}
			},
			wantWarnings: []string{"ask who the user is: refused: /apis/authentication.k8s.io/v1/selfsubjectreviews"}, wantItems: true,
		},
		"nothing": {change: func(c *cluster) { c.views = map[string][]string{"tenantnodes": nil} }},
	} {
		t.Run(name, func(t *testing.T) {
			c := alice()
			test.change(c)
			got, err := c.reader(t).Read(t.Context())
			if (err != nil) != (test.wantErr != nil) {
				t.Fatalf("got error %v", err)
			}
			for _, want := range test.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in the error, got: %v", want, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "Bearer") {
				t.Errorf("a credential is in the error: %v", err)
			}
			if got == nil {
				if test.wantItems {
					t.Error("nothing is known")
				}
				return
			}
			if (len(got.Items) > 0) != test.wantItems {
				t.Errorf("got %d items", len(got.Items))
			}
			if diff := cmp.Diff(test.wantWarnings, got.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
