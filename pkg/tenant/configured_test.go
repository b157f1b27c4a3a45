// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func TestUsers(t *testing.T) {
	const robot = "system:serviceaccount:ci:robot"
	alice := capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"}
	devs := capsulev1beta2.UserSpec{Kind: capsulev1beta2.GroupOwner, Name: "devs"}
	ci := capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: robot}
	for name, test := range map[string]struct {
		given capsulev1beta2.CapsuleConfigurationSpec
		want  []capsulev1beta2.UserSpec
	}{
		"nobody": {},
		"new field": {
			given: capsulev1beta2.CapsuleConfigurationSpec{Users: []capsulev1beta2.UserSpec{alice, ci, devs}},
			want:  []capsulev1beta2.UserSpec{devs, ci, alice},
		},
		"old fields": {
			given: capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{robot, "alice"}, UserGroups: []string{"devs"}},
			want:  []capsulev1beta2.UserSpec{devs, ci, alice},
		},
		"each once": {
			given: capsulev1beta2.CapsuleConfigurationSpec{
				Users:      []capsulev1beta2.UserSpec{alice, alice, devs, ci},
				UserNames:  []string{"alice", robot},
				UserGroups: []string{"devs", "devs"},
			},
			want: []capsulev1beta2.UserSpec{devs, ci, alice},
		},
		"a name that only begins like a service account's is a user's": {
			given: capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{"system:serviceaccount:ci"}},
			want:  []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.UserOwner, Name: "system:serviceaccount:ci"}},
		},
		"administrators are no users": {
			given: capsulev1beta2.CapsuleConfigurationSpec{Administrators: []capsulev1beta2.UserSpec{alice}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.given.DeepCopy()
			if diff := cmp.Diff(test.want, Users(&test.given)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(*before, test.given); diff != "" {
				t.Errorf("the configuration was changed:\n%s", diff)
			}
		})
	}
}

func TestDefaultConfigurationSpec(t *testing.T) {
	want := capsulev1beta2.CapsuleConfigurationSpec{
		Users: []capsulev1beta2.UserSpec{
			{Kind: capsulev1beta2.GroupOwner, Name: "projectcapsule.dev"},
			{Kind: capsulev1beta2.GroupOwner, Name: "capsule.clastix.io"},
		},
		CacheInvalidation: &metav1.Duration{Duration: time.Hour},
	}
	if diff := cmp.Diff(want, DefaultConfigurationSpec()); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
}
