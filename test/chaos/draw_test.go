// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"math/rand/v2"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	poolLabel = "pool"
	zoneLabel = "zone"
)

// Names come from small pools, so that they are used again and again, by others. Those
// of nodes, volumes and classes are the same: what is given of one kind must not be
// taken for another.
var (
	tenantNames    = []string{"oil", "gas", "wind", "sun"}
	objectNames    = []string{"a", "ab", "b", "bc", "c", "cd", "d"}
	namespaceNames = numbered("space-", 14)
	settingNames   = []string{"one", "two"}
	ownerNames     = []string{"one", "two", "three"}
	pools          = []string{"oil", "gas", "wind"}
	zones          = []string{"east", "west"}

	users = []capsulev1beta2.UserSpec{
		{Kind: capsulev1beta2.UserOwner, Name: "alice"},
		{Kind: capsulev1beta2.UserOwner, Name: "bob"},
		{Kind: capsulev1beta2.UserOwner, Name: "carol"},
		{Kind: capsulev1beta2.GroupOwner, Name: "devs"},
		{Kind: capsulev1beta2.GroupOwner, Name: "ops"},
		{Kind: capsulev1beta2.ServiceAccountOwner, Name: "system:serviceaccount:ci:robot"},
	}
	// everybody are the users, and the robots of namespaces, as RBAC has them.
	everybody = subjects()
)

func numbered(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s%02d", prefix, i)
	}
	return names
}

func subjects() sets.Set[rbacv1.Subject] {
	all := sets.New[rbacv1.Subject]()
	for _, user := range users {
		subject, _ := subjectOf(user)
		all.Insert(subject)
	}
	for _, namespace := range namespaceNames {
		all.Insert(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: robot})
	}
	return all
}

// random draws what an edit needs. Each edit has its own, so that it is the same
// whatever became of those before it.
type random struct{ *rand.Rand }

func newRandom(seed, edit uint64) random { return random{rand.New(rand.NewPCG(seed, edit))} }

func (r random) oneIn(n int) bool { return r.IntN(n) == 0 }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

// some returns so many different elements.
func some[T any](r random, n int, from []T) []T {
	picked := make([]T, 0, n)
	for _, i := range r.Perm(len(from))[:n] {
		picked = append(picked, from[i])
	}
	return picked
}

func (r random) labels() map[string]string {
	l := map[string]string{poolLabel: pick(r, pools...)}
	if r.oneIn(2) {
		l[zoneLabel] = pick(r, zones...)
	}
	return l
}

func (r random) tenantSpec() capsulev1beta2.TenantSpec {
	var spec capsulev1beta2.TenantSpec
	for aspect := range aspects {
		r.change(&spec, aspect)
	}
	return spec
}

// aspects is how many things of a Tenant can be changed by themselves.
const aspects = 14

// change draws one aspect of a Tenant anew.
func (r random) change(spec *capsulev1beta2.TenantSpec, aspect int) {
	switch aspect {
	case 0:
		spec.Owners = nil
		for _, user := range some(r, 2+r.IntN(3), users) {
			spec.Owners = append(spec.Owners, r.owner(user))
		}
	case 1:
		// One of them leaves the others.
		spec.Owners[r.IntN(len(spec.Owners))].ProxySettings = r.profile()
	case 2:
		spec.NodeSelector = pick(r, nil, r.labels(), map[string]string{poolLabel: pick(r, pools...)})
	case 3:
		spec.StorageClasses = r.allowed()
	case 4:
		spec.PriorityClasses = r.allowed()
	case 5:
		spec.RuntimeClasses = r.allowed()
	case 6:
		spec.IngressOptions = pick(r, nil, &capsulev1beta2.IngressOptions{AllowedClasses: r.allowed()})
	case 7:
		spec.AdditionalRoleBindings = nil
		for range r.IntN(3) {
			spec.AdditionalRoleBindings = append(spec.AdditionalRoleBindings, r.roleBinding())
		}
	case 8:
		spec.Permissions = r.permissions()
	case 9:
		spec.NetworkPolicies = r.networkPolicies()
	case 10:
		spec.LimitRanges = r.limitRanges()
	case 11:
		spec.ResourceQuotas = r.resourceQuotas()
	case 12:
		spec.NamespaceOptions = r.namespaceOptions()
	case 13:
		spec.Cordoned = r.oneIn(3)
	}
}

func (r random) owner(user capsulev1beta2.UserSpec) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{
		CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
			UserSpec: user, ClusterRoles: pick(r, nil, nil, []string{}, []string{"view"}, []string{"edit", "admin"}),
		},
		ProxySettings: r.profile(),
	}
}

// profile draws what a subject may do: mostly what others may, too, so that they share
// roles.
func (r random) profile() []capsulev1beta2.ProxyOperations {
	if r.oneIn(6) {
		return r.operations(r.IntN(5))
	}
	const profiles = 3
	return newRandom(0, r.Uint64N(profiles)).operations(7)
}

// operations draws what a subject may do with so many kinds.
func (r random) operations(n int) []capsulev1beta2.ProxyOperations {
	var list []capsulev1beta2.ProxyOperations
	for _, service := range some(r, n, []capsulev1beta2.ProxyServiceKind{
		capsulev1beta2.NodesProxy, capsulev1beta2.PersistentVolumesProxy, capsulev1beta2.StorageClassesProxy,
		capsulev1beta2.IngressClassesProxy, capsulev1beta2.PriorityClassesProxy, capsulev1beta2.RuntimeClassesProxy,
		capsulev1beta2.TenantProxy,
	}) {
		list = append(list, capsulev1beta2.ProxyOperations{
			Kind: service,
			Operations: pick(r,
				[]capsulev1beta2.ProxyOperation{capsulev1beta2.ListOperation},
				[]capsulev1beta2.ProxyOperation{capsulev1beta2.ListOperation},
				[]capsulev1beta2.ProxyOperation{capsulev1beta2.ListOperation, capsulev1beta2.UpdateOperation, capsulev1beta2.DeleteOperation},
				[]capsulev1beta2.ProxyOperation{capsulev1beta2.DeleteOperation},
			),
		})
	}
	return list
}

func (r random) allowed() *capsulev1beta2.DefaultAllowedList {
	if r.oneIn(4) {
		return nil
	}
	list := &capsulev1beta2.DefaultAllowedList{Default: pick(r, "", "", pick(r, objectNames...))}
	list.Allowed = some(r, r.IntN(3), objectNames)
	list.AllowedRegex = pick(r, "", "", "b", "^a", "d$", "(")
	switch r.IntN(4) {
	case 0:
		list.MatchLabels = r.labels()
	case 1:
		list.MatchExpressions = []metav1.LabelSelectorRequirement{{
			Key: poolLabel, Operator: metav1.LabelSelectorOpIn, Values: some(r, 1+r.IntN(2), pools),
		}}
	case 2:
		// As documentation for Tenants has it; Kubernetes itself does not.
		list.MatchExpressions = []metav1.LabelSelectorRequirement{{
			Key: zoneLabel, Operator: metav1.LabelSelectorOpExists, Values: []string{pick(r, zones...)},
		}}
	}
	return list
}

func (r random) roleBinding() capsulev1beta2.AdditionalRoleBinding {
	b := capsulev1beta2.AdditionalRoleBinding{ClusterRoleName: pick(r, "view", "edit", "admin"), Labels: pick(r, nil, r.labels())}
	for _, user := range some(r, 1+r.IntN(2), users) {
		subject, _ := subjectOf(user)
		b.Subjects = append(b.Subjects, subject)
	}
	return b
}

func (r random) proxySetting() capsulev1beta2.ProxySettingSpec {
	var spec capsulev1beta2.ProxySettingSpec
	for _, user := range some(r, 1+r.IntN(2), users) {
		spec.Subjects = append(spec.Subjects, capsulev1beta2.ProxySubject{UserSpec: user, ProxySettings: r.profile()})
	}
	return spec
}

func (r random) globalProxySettings() capsulev1beta2.GlobalProxySettingsSpec {
	var spec capsulev1beta2.GlobalProxySettingsSpec
	for range 1 + r.IntN(2) {
		rule := capsulev1beta2.GlobalRule{Subjects: some(r, 1+r.IntN(2), users)}
		for range r.IntN(3) {
			k := pick(r, selected...)
			resource := capsulev1beta2.ClusterResource{
				APIGroups:  []string{pick(r, k.group, k.group, "*")},
				Resources:  []string{pick(r, k.resource, k.resource, "*")},
				Operations: pick(r, nil, []capsulev1beta2.ClusterOperation{capsulev1beta2.ClusterGetOperation}),
				Selector:   &metav1.LabelSelector{MatchLabels: r.labels()},
			}
			rule.ClusterResources = append(rule.ClusterResources, resource)
		}
		spec.Rules = append(spec.Rules, rule)
	}
	return spec
}
