// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

func TestWritesIn(t *testing.T) {
	const by = `"stage":"ResponseComplete","user":{"username":"system:serviceaccount:tenancy-system:tenancy-controller"}`
	log := []string{
		`{` + by + `,"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{` + by + `,"verb":"patch","objectRef":{"resource":"tenants","subresource":"status"}}`,
		`{` + by + `,"verb":"get","objectRef":{"resource":"tenants"}}`,
		`{` + by + `,"verb":"update","objectRef":{"resource":"leases"}}`,
		`{"stage":"RequestReceived","user":{"username":"` + controllerUser + `"},"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{"stage":"ResponseComplete","user":{"username":"admin"},"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{` + by + `,"verb":"del`,
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(strings.Join(log, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := writesIn(path); err != nil || got != 2 {
		t.Errorf("want 2 writes, got %d, %v", got, err)
	}
}
