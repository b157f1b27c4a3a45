// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

func TestClassify(t *testing.T) {
	const (
		self  = "system:serviceaccount:tenancy-system:tenancy-controller"
		flux  = "system:serviceaccount:flux:deployer"
		robot = "system:serviceaccount:oil-prod:robot"
	)
	person := func(name string, groups ...string) user.Info {
		return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
	}
	account := func(namespace, name string) user.Info {
		return serviceaccount.UserInfo(namespace, name, "")
	}
	users := func(specs ...capsulev1beta2.UserSpec) *capsulev1beta2.CapsuleConfigurationSpec {
		return &capsulev1beta2.CapsuleConfigurationSpec{Users: specs}
	}
	u := func(kind capsulev1beta2.OwnerKind, name string) capsulev1beta2.UserSpec {
		return capsulev1beta2.UserSpec{Kind: kind, Name: name}
	}
	owner := func(name string, aggregate *bool) *capsulev1beta2.TenantOwner {
		return &capsulev1beta2.TenantOwner{Spec: capsulev1beta2.TenantOwnerSpec{
			CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: u(capsulev1beta2.UserOwner, name)}, Aggregate: aggregate,
		}}
	}
	admins := &capsulev1beta2.CapsuleConfigurationSpec{
		Users: []capsulev1beta2.UserSpec{u(capsulev1beta2.GroupOwner, "devs")},
		Administrators: []capsulev1beta2.UserSpec{
			u(capsulev1beta2.GroupOwner, "ops"),
			u(capsulev1beta2.UserOwner, "carol"),
			u(capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:kube-system:janitor"),
		},
		IgnoreUserWithGroups: []string{"robots"},
	}
	tests := map[string]struct {
		config *capsulev1beta2.CapsuleConfigurationSpec
		owners []*capsulev1beta2.TenantOwner
		info   user.Info
		want   tenant.Requester
	}{
		"no configuration, new group":         {info: person("alice", "projectcapsule.dev"), want: tenant.CapsuleUser},
		"no configuration, old group":         {info: person("alice", "capsule.clastix.io"), want: tenant.CapsuleUser},
		"no configuration, no group":          {info: person("alice"), want: tenant.Unknown},
		"a configuration replaces the groups": {config: users(), info: person("alice", "projectcapsule.dev"), want: tenant.Unknown},
		"the controller":                      {config: admins, info: account("tenancy-system", "tenancy-controller"), want: tenant.Controller},
		"system:masters is nothing to us": {
			config: admins, info: person("carol", user.SystemPrivilegedGroup, "devs", "ops"), want: tenant.Unknown,
		},
		"ignored group of a user":              {config: admins, info: person("bob", "devs", "robots"), want: tenant.Unknown},
		"ignored group of an administrator":    {config: admins, info: person("carol", "robots"), want: tenant.Unknown},
		"administrator by name":                {config: admins, info: person("carol"), want: tenant.Administrator},
		"administrator by group, user as well": {config: admins, info: person("dave", "devs", "ops"), want: tenant.Administrator},
		"administrator in kube-system":         {config: admins, info: account("kube-system", "janitor"), want: tenant.Administrator},
		"kube-system, though listed": {
			config: users(u(capsulev1beta2.ServiceAccountOwner, "system:serviceaccount:kube-system:gc")),
			info:   account("kube-system", "gc"), want: tenant.Unknown,
		},
		"user by a TenantOwner": {
			config: users(), owners: []*capsulev1beta2.TenantOwner{owner("bob", new(true))}, info: person("bob"), want: tenant.CapsuleUser,
		},
		"user by a TenantOwner that says nothing": {
			config: users(), owners: []*capsulev1beta2.TenantOwner{owner("bob", nil)}, info: person("bob"), want: tenant.CapsuleUser,
		},
		"no user by a TenantOwner": {
			config: users(), owners: []*capsulev1beta2.TenantOwner{owner("bob", new(false))}, info: person("bob"), want: tenant.Unknown,
		},
		"no user by the TenantOwner of another": {
			config: users(), owners: []*capsulev1beta2.TenantOwner{owner("bob", nil)}, info: person("alice"), want: tenant.Unknown,
		},
		"ignored group of a TenantOwner": {
			config: admins, owners: []*capsulev1beta2.TenantOwner{owner("bob", nil)}, info: person("bob", "robots"), want: tenant.Unknown,
		},
		"user by group": {config: admins, info: person("bob", "devs"), want: tenant.CapsuleUser},
		"user by group in the old form": {
			config: &capsulev1beta2.CapsuleConfigurationSpec{UserGroups: []string{"devs"}},
			info:   person("bob", "devs"), want: tenant.CapsuleUser,
		},
		"user by name":               {config: users(u(capsulev1beta2.UserOwner, "bob")), info: person("bob"), want: tenant.CapsuleUser},
		"a group is not a user name": {config: users(u(capsulev1beta2.UserOwner, "devs")), info: person("bob", "devs"), want: tenant.Unknown},
		"user by name in the old form": {
			config: &capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{"bob"}},
			info:   person("bob"), want: tenant.CapsuleUser,
		},
		"service account listed": {
			config: users(u(capsulev1beta2.ServiceAccountOwner, flux)),
			info:   account("flux", "deployer"), want: tenant.CapsuleUser,
		},
		"service account in the old form": {
			config: &capsulev1beta2.CapsuleConfigurationSpec{UserNames: []string{flux}},
			info:   account("flux", "deployer"), want: tenant.CapsuleUser,
		},
		"service account by the group of its namespace": {
			config: users(u(capsulev1beta2.GroupOwner, "system:serviceaccounts:flux")),
			info:   account("flux", "deployer"), want: tenant.CapsuleUser,
		},
		"somebody named like a service account": {
			config: users(u(capsulev1beta2.ServiceAccountOwner, flux)), info: person(flux), want: tenant.CapsuleUser,
		},
		"service account that lives in a tenant": {config: users(), info: account("oil-prod", "robot"), want: tenant.CapsuleUser},
		"service account that lives elsewhere":   {config: users(), info: account("flux", "deployer"), want: tenant.Unknown},
		"somebody named like one in a tenant":    {config: users(), info: person(robot), want: tenant.CapsuleUser},
		"a service account without a namespace":  {config: users(), info: person("alice", serviceaccount.AllServiceAccountsGroup), want: tenant.Unknown},
		"a service account in a tenant, ignored": {config: admins, info: person(robot, serviceaccount.AllServiceAccountsGroup, "robots"), want: tenant.Unknown},
		"anonymous":                              {info: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, want: tenant.Unknown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inTenant := func(namespace string) (bool, error) { return namespace == "oil-prod", nil }
			got, err := tenant.Classify(test.config, test.owners, test.info, []string{self}, inTenant)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want.String(), got.String()); diff != "" {
				t.Errorf("unexpected requester (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClassifyFailsWithTheLookup(t *testing.T) {
	failure := errors.New("no answer")
	_, err := tenant.Classify(nil, nil, serviceaccount.UserInfo("oil-prod", "robot", ""), nil,
		func(string) (bool, error) { return false, failure })
	if !errors.Is(err, failure) {
		t.Errorf("got error %v, want %v", err, failure)
	}
}
