// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func TestSubject(t *testing.T) {
	for name, test := range map[string]struct {
		given   capsulev1beta2.UserSpec
		want    rbacv1.Subject
		wantErr string
	}{
		"user": {
			given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"},
			want:  userAlice,
		},
		"group": {
			given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.GroupOwner, Name: "devs"},
			want:  groupDevs,
		},
		"service account": {
			given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: "system:serviceaccount:ci:robot"},
			want:  robot,
		},
		"user without a name":     {given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner}, wantErr: "a User needs a name"},
		"short service account":   {given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: "ci:robot"}, wantErr: "write system:serviceaccount:"},
		"service account no name": {given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: "system:serviceaccount:ci:"}, wantErr: "write system:serviceaccount:"},
		"service account of many": {given: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: "system:serviceaccount:a:b:c"}, wantErr: "write system:serviceaccount:"},
		"no such kind":            {given: capsulev1beta2.UserSpec{Kind: "Robot", Name: "r2"}, wantErr: `kind "Robot" is none of User, Group, ServiceAccount`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Subject(test.given)
			switch {
			case test.wantErr == "" && err != nil:
				t.Fatal(err)
			case test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)):
				t.Errorf("want an error with %q, got %v", test.wantErr, err)
			case got != test.want:
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestIs(t *testing.T) {
	const account = "system:serviceaccount:ci:robot"
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}}
	ci := &user.DefaultInfo{Name: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ci"}}
	forged := &user.DefaultInfo{Name: account, Groups: []string{"system:authenticated"}}
	for name, test := range map[string]struct {
		kind capsulev1beta2.OwnerKind
		name string
		info user.Info
		want bool
	}{
		"user":                      {capsulev1beta2.UserOwner, "alice", alice, true},
		"another user":              {capsulev1beta2.UserOwner, "bob", alice, false},
		"group":                     {capsulev1beta2.GroupOwner, "devs", alice, true},
		"a group is no user":        {capsulev1beta2.UserOwner, "devs", alice, false},
		"a user is no group":        {capsulev1beta2.GroupOwner, "alice", alice, false},
		"service account":           {capsulev1beta2.ServiceAccountOwner, account, ci, true},
		"service account as user":   {capsulev1beta2.UserOwner, account, ci, true},
		"another service account":   {capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:ci:other", ci, false},
		"the name without a group":  {capsulev1beta2.ServiceAccountOwner, account, forged, true},
		"a user is no account":      {capsulev1beta2.ServiceAccountOwner, "alice", alice, false},
		"group of service accounts": {capsulev1beta2.GroupOwner, "system:serviceaccounts:ci", ci, true},
		"no such kind":              {"Robot", "alice", alice, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Is(capsulev1beta2.UserSpec{Kind: test.kind, Name: test.name}, test.info); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestCompareSubjects(t *testing.T) {
	otherGroup := groupDevs
	otherGroup.APIGroup = "example.com"
	otherRobot := robot
	otherRobot.Namespace = "prod"
	want := []rbacv1.Subject{otherGroup, groupDevs, robot, otherRobot, userAlice}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareSubjects)
	if !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
	for _, subject := range want {
		if CompareSubjects(subject, subject) != 0 {
			t.Errorf("%v is not itself", subject)
		}
	}
}
