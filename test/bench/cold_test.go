// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestImposed(t *testing.T) {
	objects := imposed(imposingTenant(options{Tenants: 50}, 1), "x")
	// Two roles of two owners, and that of readers; two policies, limits, a quota.
	if want := 4 + 1 + 2 + 1 + 1; len(objects) != want {
		t.Errorf("want %d objects, got %d", want, len(objects))
	}
	seen := map[string]bool{}
	for _, object := range objects {
		if object.GetNamespace() != "x" || object.GetName() == "" || len(object.GetOwnerReferences()) != 1 {
			t.Errorf("not as the controller makes it: %+v", object)
		}
		seen[object.GetName()] = true
	}
	if !seen["capsule:tenant:tenant-01"] || !seen["capsule-tenant-01-1"] {
		t.Errorf("got %v", seen)
	}
}
