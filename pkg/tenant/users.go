// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Requester is what the one who makes a request is to the tenants.
type Requester int

const (
	// Unknown is nothing to them: what RBAC allows it, it may do, except to put
	// namespaces into tenants or to take them out.
	Unknown Requester = iota
	// CapsuleUser is subject to the rules for namespaces, and creates them only
	// in the Tenants that it owns. Not every owner of a Tenant is one.
	CapsuleUser
	// Administrator counts as an owner of every Tenant.
	Administrator
	// Controller is the controller itself.
	Controller
)

// String returns the name of what the requester is.
func (r Requester) String() string {
	switch r {
	case Unknown:
		return "Unknown"
	case CapsuleUser:
		return "CapsuleUser"
	case Administrator:
		return "Administrator"
	case Controller:
		return "Controller"
	default:
		return "Requester(?)"
	}
}

// kubeSystemServiceAccounts is the group of the control plane's service accounts.
var kubeSystemServiceAccounts = serviceaccount.MakeNamespaceGroupName(metav1.NamespaceSystem)

// DefaultConfiguration returns what holds when there is no CapsuleConfiguration.
func DefaultConfiguration() *capsulev1beta2.CapsuleConfigurationSpec {
	return &capsulev1beta2.CapsuleConfigurationSpec{Users: []capsulev1beta2.UserSpec{
		{Kind: capsulev1beta2.GroupOwner, Name: capsulev1beta2.DefaultUserGroup},
		{Kind: capsulev1beta2.GroupOwner, Name: capsulev1beta2.LegacyUserGroup},
	}}
}

// Classify returns what an authenticated user is to the tenants. No configuration
// counts as the default one. Of the TenantOwners, those about the user suffice. The
// names of the controller's own users are given as controllers. Whether a namespace,
// that of a service account, is a tenant's, inTenant says; it is asked only where it
// matters.
func Classify(
	config *capsulev1beta2.CapsuleConfigurationSpec,
	owners []*capsulev1beta2.TenantOwner,
	info user.Info,
	controllers []string,
	inTenant func(namespace string) (bool, error),
) (Requester, error) {
	if config == nil {
		config = DefaultConfiguration()
	}
	groups := info.GetGroups()
	switch {
	case slices.Contains(controllers, info.GetName()):
		return Controller, nil
	case slices.Contains(groups, user.SystemPrivilegedGroup):
		return Unknown, nil
	case intersect(groups, config.IgnoreUserWithGroups):
		return Unknown, nil
	case isAny(config.Administrators, info):
		return Administrator, nil
	case slices.Contains(groups, kubeSystemServiceAccounts):
		return Unknown, nil
	case isCapsuleUser(config, owners, info):
		return CapsuleUser, nil
	}
	// A service account that lives in a tenant is a user of it, listed or not.
	namespace, _, err := serviceaccount.SplitUsername(info.GetName())
	if err != nil {
		return Unknown, nil //nolint:nilerr // a name without a namespace is in no tenant's
	}
	in, err := inTenant(namespace)
	if err != nil || !in {
		return Unknown, err
	}
	return CapsuleUser, nil
}

// isCapsuleUser reports whether the configuration, or a TenantOwner, lists the user.
// Present specs are asked, not the status of the configuration, which lags.
func isCapsuleUser(config *capsulev1beta2.CapsuleConfigurationSpec, owners []*capsulev1beta2.TenantOwner, info user.Info) bool {
	return isAny(config.Users, info) ||
		intersect(info.GetGroups(), config.UserGroups) ||
		slices.ContainsFunc(owners, func(owner *capsulev1beta2.TenantOwner) bool {
			return IsAggregated(owner) && Is(owner.Spec.UserSpec, info)
		}) ||
		slices.ContainsFunc(config.UserNames, func(name string) bool { return Is(userNamed(name), info) })
}

// userNamed returns the subject that a name in the old form of the list means: a
// service account if it reads like one.
func userNamed(name string) capsulev1beta2.UserSpec {
	if _, _, err := serviceaccount.SplitUsername(name); err == nil {
		return capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: name}
	}
	return capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}
}

func isAny(users []capsulev1beta2.UserSpec, info user.Info) bool {
	return slices.ContainsFunc(users, func(u capsulev1beta2.UserSpec) bool { return Is(u, info) })
}

func intersect(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
