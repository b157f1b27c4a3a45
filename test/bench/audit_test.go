// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritesIn(t *testing.T) {
	const by = `"stage":"ResponseComplete","user":{"username":"system:serviceaccount:tenancy-system:tenancy-controller"}`
	log := []string{
		`{` + by + `,"responseStatus":{"code":200},"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"patch","objectRef":{"resource":"tenants","subresource":"status"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"get","objectRef":{"resource":"tenants"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"update","objectRef":{"resource":"leases"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"create","objectRef":{"resource":"events","namespace":"tenancy-system"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"create","objectRef":{"resource":"events","namespace":"default"}}`,
		`{"stage":"RequestReceived","user":{"username":"` + controllerUser + `"},"responseStatus":{"code":200},"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{"stage":"ResponseComplete","user":{"username":"admin"},"responseStatus":{"code":200},"verb":"create","objectRef":{"resource":"rolebindings"}}`,
		`{` + by + `,"responseStatus":{"code":200},"verb":"del`,
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(strings.Join(log, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	got, offset, err := writesIn(path, 0)
	if err != nil || got != 3 {
		t.Errorf("want 3 writes, got %d, %v", got, err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`ete","objectRef":{"resource":"rolebindings"}}` + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _, err := writesIn(path, offset); err != nil || got != 1 {
		t.Errorf("want 1 more, got %d, %v", got, err)
	}
}
