// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package serviceaccounts

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

func TestBinder(t *testing.T) {
	const annotation = "tenancy.capsule.io/promoted-for"
	bare := []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/annotations", Value: map[string]string{annotation: "oil-1"}}}
	one := []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/annotations/tenancy.capsule.io~1promoted-for", Value: "oil-1"}}
	for name, test := range map[string]struct {
		cluster    []client.Object
		old, given *corev1.ServiceAccount
		want       []webhook.JSONPatchOp
	}{
		"created with the label":            {given: accountFor("", "true"), want: bare},
		"created for another Tenant":        {given: accountFor("gas-1", "true"), want: one},
		"created for this Tenant":           {given: account("true")},
		"created without":                   {given: accountFor("", "")},
		"the label is set":                  {old: accountFor("", ""), given: accountFor("", "true"), want: bare},
		"the label is set again":            {old: accountFor("gas-1", "false"), given: accountFor("gas-1", "true"), want: one},
		"the annotation is lost":            {old: account("true"), given: accountFor("", "true"), want: bare},
		"a label of another Tenant is kept": {old: accountFor("gas-1", "true"), given: accountFor("gas-1", "true")},
		"a label of nobody's time is kept":  {old: accountFor("", "true"), given: accountFor("", "true")},
		"the annotation of another is lost": {old: accountFor("gas-1", "true"), given: accountFor("", "true")},
		"in nobody's namespace":             {cluster: []client.Object{oil(nil), namespace("oil-0")}, given: accountFor("", "true")},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cluster == nil {
				test.cluster = []client.Object{oil(nil), namespace("")}
			}
			response := ask(t, NewBinder(cluster(test.cluster...)), "alice", nil, test.old, test.given)
			if diff := cmp.Diff(test.want, response.Patches); diff != "" || !response.Allowed {
				t.Errorf("allowed: %v; patches (-want +got):\n%s", response.Allowed, diff)
			}
		})
	}
	t.Run("fails closed", func(t *testing.T) {
		response := ask(t, NewBinder(failing{cluster()}), "alice", nil, nil, account("true"))
		if response.Allowed || response.Result.Code != http.StatusInternalServerError {
			t.Errorf("want an internal error, got %v", response.Result)
		}
	})
}
