// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func printed() *Access {
	return &Access{
		APIVersion: APIVersion, Kind: Kind, User: &User{Username: "alice"},
		Items: []Item{
			{Tenant: "oil", Version: "v1", Kind: "Namespace", Resource: "namespaces", View: "tenantnamespaces", Verbs: []string{"get", "list"}, Names: []string{"oil-development", "oil-integration", "oil-production", "oil-staging"}},
			{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass", Resource: "storageclasses", View: "tenantstorageclasses", Verbs: []string{"get"}, Names: []string{"custom"}},
		},
		Warnings: []string{"a"},
	}
}

func TestPrint(t *testing.T) {
	for name, test := range map[string]struct {
		format  string
		headers bool
		want    string
	}{
		"table": {"", true, "" +
			"TENANT   RESOURCE         VERBS      COUNT   NAMES\n" +
			"oil      namespaces       get,list   4       oil-development,oil-integration,oil-production + 1 more...\n" +
			"<none>   storageclasses   get        1       custom\n"},
		"without headers": {"", false, "" +
			"oil      namespaces       get,list   4     oil-development,oil-integration,oil-production + 1 more...\n" +
			"<none>   storageclasses   get        1     custom\n"},
		"wide": {FormatWide, true, "" +
			"TENANT   RESOURCE         VERBS      COUNT   VIEW                   NAMES\n" +
			"oil      namespaces       get,list   4       tenantnamespaces       oil-development,oil-integration,oil-production,oil-staging\n" +
			"<none>   storageclasses   get        1       tenantstorageclasses   custom\n"},
		"name": {FormatName, true, "" +
			"namespace/oil-development\nnamespace/oil-integration\nnamespace/oil-production\nnamespace/oil-staging\nstorageclass.storage.k8s.io/custom\n"},
		"yaml": {FormatYAML, true, `apiVersion: cli.tenancy.capsule.io/v1alpha1
items:
- kind: Namespace
  names:
  - oil-development
  - oil-integration
  - oil-production
  - oil-staging
  resource: namespaces
  tenant: oil
  verbs:
  - get
  - list
  version: v1
  view: tenantnamespaces
- group: storage.k8s.io
  kind: StorageClass
  names:
  - custom
  resource: storageclasses
  verbs:
  - get
  version: v1
  view: tenantstorageclasses
kind: Access
user:
  username: alice
warnings:
- a
`},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := printed().Print(&got, test.format, test.headers); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrintOfNothing(t *testing.T) {
	var got bytes.Buffer
	if err := (&Access{APIVersion: APIVersion, Kind: Kind, Items: []Item{}}).Print(&got, FormatJSON, true); err != nil {
		t.Fatal(err)
	}
	const want = `{
    "apiVersion": "cli.tenancy.capsule.io/v1alpha1",
    "kind": "Access",
    "items": []
}
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPrintOfNoFormat(t *testing.T) {
	if err := printed().Print(&bytes.Buffer{}, "xml", true); err == nil {
		t.Error("want an error")
	}
}
