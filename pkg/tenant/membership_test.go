// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func ownedBy(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid}
}

func TestOf(t *testing.T) {
	const version = "capsule.clastix.io/v1beta2"
	for name, test := range map[string]struct {
		label  string
		owners []metav1.OwnerReference
		want   Ref
		wantOK bool
	}{
		"nobody's":              {},
		"label alone":           {label: "oil"},
		"owner alone":           {owners: []metav1.OwnerReference{ownedBy(version, "Tenant", "oil", "1")}},
		"both":                  {label: "oil", owners: []metav1.OwnerReference{ownedBy(version, "Tenant", "oil", "1")}, want: Ref{"oil", "1"}, wantOK: true},
		"the old version":       {label: "oil", owners: []metav1.OwnerReference{ownedBy("capsule.clastix.io/v1beta1", "Tenant", "oil", "1")}, want: Ref{"oil", "1"}, wantOK: true},
		"they disagree":         {label: "gas", owners: []metav1.OwnerReference{ownedBy(version, "Tenant", "oil", "1")}},
		"another kind":          {label: "oil", owners: []metav1.OwnerReference{ownedBy(version, "TenantOwner", "oil", "1")}},
		"another group":         {label: "oil", owners: []metav1.OwnerReference{ownedBy("example.com/v1beta2", "Tenant", "oil", "1")}},
		"the group as a name":   {label: "oil", owners: []metav1.OwnerReference{ownedBy("capsule.clastix.io", "Tenant", "oil", "1")}},
		"no version at all":     {label: "oil", owners: []metav1.OwnerReference{ownedBy("a/b/c", "Tenant", "oil", "1")}},
		"among others":          {label: "oil", owners: []metav1.OwnerReference{ownedBy("v1", "ConfigMap", "oil", "0"), ownedBy(version, "Tenant", "oil", "1")}, want: Ref{"oil", "1"}, wantOK: true},
		"two tenants":           {label: "oil", owners: []metav1.OwnerReference{ownedBy(version, "Tenant", "oil", "1"), ownedBy(version, "Tenant", "gas", "2")}},
		"two lives of a tenant": {label: "oil", owners: []metav1.OwnerReference{ownedBy(version, "Tenant", "oil", "1"), ownedBy(version, "Tenant", "oil", "2")}},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &metav1.ObjectMeta{Name: "oil-prod", OwnerReferences: test.owners}
			if test.label != "" {
				namespace.Labels = map[string]string{capsulev1beta2.TenantLabel: test.label}
			}
			got, ok := Of(namespace)
			if got != test.want || ok != test.wantOK {
				t.Errorf("want %v, %v, got %v, %v", test.want, test.wantOK, got, ok)
			}
			for _, uid := range []types.UID{"1", "2"} {
				candidate := &metav1.ObjectMeta{Name: "oil", UID: uid}
				if want := test.wantOK && test.want.UID == candidate.UID; Owns(candidate, namespace) != want {
					t.Errorf("want oil of UID %s to own it: %v", uid, want)
				}
			}
		})
	}
}

func TestReferences(t *testing.T) {
	object := &metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
		ownedBy("capsule.clastix.io/v1beta2", "Tenant", "oil", "1"),
		ownedBy("v1", "ConfigMap", "oil", "0"),
		ownedBy("capsule.clastix.io/v1beta1", "Tenant", "gas", "2"),
	}}
	if diff := cmp.Diff([]Ref{{"oil", "1"}, {"gas", "2"}}, References(object)); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}
