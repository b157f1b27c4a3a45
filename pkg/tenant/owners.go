// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"cmp"
	"iter"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// What subjects have in each namespace of a Tenant unless something else is said.
// Callers must not modify any of them.
var (
	// DefaultClusterRoles are those of an owner.
	DefaultClusterRoles = []string{"admin", capsulev1beta2.DeleterRole}
	// DefaultAdministrationClusterRoles are those of an administrator.
	DefaultAdministrationClusterRoles = []string{capsulev1beta2.DeleterRole}
	// DefaultPromotionClusterRoles are those of a promoted service account.
	DefaultPromotionClusterRoles = []string{capsulev1beta2.ProvisionerRole, capsulev1beta2.DeleterRole}
)

// ClusterRoles returns what an owner has in each namespace: the list of its spec,
// which may be empty, or the default where there is none.
func ClusterRoles(owner capsulev1beta2.CoreOwnerSpec) []string {
	return orDefault(owner.ClusterRoles, DefaultClusterRoles)
}

func orDefault(roles, unlessGiven []string) []string {
	if roles == nil {
		return unlessGiven
	}
	return roles
}

// Sources are what makes owners of Tenants besides their specs. They are read only,
// and may be of the whole cluster or of no more than concerns a Tenant or a user.
type Sources struct {
	// Config is what the configuration says. None counts as the default one.
	Config *capsulev1beta2.CapsuleConfigurationSpec
	// TenantOwners are in any order.
	TenantOwners []*capsulev1beta2.TenantOwner
	// Promoted are the service accounts that ask for it by their label, in any order.
	// Whether they are promoted configuration and Tenant say. Sources that are about a
	// user leave out one that is not for want of a place, see MaxPromoted.
	Promoted []Promoted
}

// Promoted is a service account in a namespace of a Tenant that has the label which
// makes it an owner.
type Promoted struct {
	Tenant Ref
	// For is the UID of the Tenant that it was promoted for: its namespace may have
	// become another's since, or have been nobody's.
	For types.UID
	// Name is its user name, system:serviceaccount:<namespace>:<name>.
	Name string
}

// MaxPromoted is how many service accounts own a Tenant by their label: each brings
// RoleBindings to each of its namespaces.
const MaxPromoted = 100

// About leaves of the sources what makes owners of those whom is picks.
func (s Sources) About(is func(capsulev1beta2.UserSpec) bool) Sources {
	about := Sources{Config: s.Config}
	for _, owner := range s.TenantOwners {
		if is(owner.Spec.UserSpec) {
			about.TenantOwners = append(about.TenantOwners, owner)
		}
	}
	for _, account := range s.Promoted {
		if is(serviceAccount(account.Name)) {
			about.Promoted = append(about.Promoted, account)
		}
	}
	return about
}

// Owners returns who owns the Tenant, each subject once, in the order of their
// first mention, with the union of their ClusterRoles. First come those of its spec,
// then the TenantOwners that it selects and the promoted service accounts, both by
// name, then the administrators of the configuration. The ClusterRoles are never
// nil, which would read as the default.
func Owners(t *capsulev1beta2.Tenant, s Sources) []capsulev1beta2.CoreOwnerSpec {
	var owners []capsulev1beta2.CoreOwnerSpec
	index := map[capsulev1beta2.UserSpec]int{}
	for spec := range each(t, s) {
		at, known := index[spec.UserSpec]
		if !known {
			at = len(owners)
			index[spec.UserSpec] = at
			owners = append(owners, capsulev1beta2.CoreOwnerSpec{UserSpec: spec.UserSpec, ClusterRoles: []string{}})
		}
		for _, role := range ClusterRoles(spec) {
			if !slices.Contains(owners[at].ClusterRoles, role) {
				owners[at].ClusterRoles = append(owners[at].ClusterRoles, role)
			}
		}
	}
	return owners
}

// IsOwner reports whether an authenticated user owns the Tenant.
func IsOwner(t *capsulev1beta2.Tenant, s Sources, info user.Info) bool {
	return Owned(t, s, func(u capsulev1beta2.UserSpec) bool { return Is(u, info) })
}

// Owned reports whether any of those whom is picks owns the Tenant.
func Owned(t *capsulev1beta2.Tenant, s Sources, is func(capsulev1beta2.UserSpec) bool) bool {
	for owner := range each(t, s) {
		if is(owner.UserSpec) {
			return true
		}
	}
	return false
}

// each returns all that makes an owner of the Tenant, one subject possibly several
// times.
func each(t *capsulev1beta2.Tenant, s Sources) iter.Seq[capsulev1beta2.CoreOwnerSpec] {
	return func(yield func(capsulev1beta2.CoreOwnerSpec) bool) {
		for i := range t.Spec.Owners {
			if !yield(t.Spec.Owners[i].CoreOwnerSpec) {
				return
			}
		}
		for _, owner := range selected(t, s.TenantOwners) {
			if !yield(owner) {
				return
			}
		}
		for _, owner := range PromotedOwners(t, s) {
			if !yield(owner) {
				return
			}
		}
		for _, owner := range Administrators(s.Config) {
			if !yield(owner) {
				return
			}
		}
	}
}

// selected returns the TenantOwners that a Tenant selects, in order of name.
func selected(t *capsulev1beta2.Tenant, all []*capsulev1beta2.TenantOwner) []capsulev1beta2.CoreOwnerSpec {
	if len(all) == 0 {
		return nil
	}
	selection := SelectionOf(t)
	var found []*capsulev1beta2.TenantOwner
	for _, owner := range all {
		if selection.Matches(owner) {
			found = append(found, owner)
		}
	}
	slices.SortFunc(found, func(a, b *capsulev1beta2.TenantOwner) int { return cmp.Compare(a.Name, b.Name) })
	specs := make([]capsulev1beta2.CoreOwnerSpec, 0, len(found))
	for _, owner := range found {
		specs = append(specs, owner.Spec.CoreOwnerSpec)
	}
	return specs
}

// Selection decides which TenantOwners own a Tenant.
type Selection struct {
	tenant    string
	selectors []labels.Selector
}

// SelectionOf returns the selection of a Tenant: what any of its matchOwners selects,
// and what names it in its label. A selector that cannot be understood selects
// nothing; the Accepted condition of the Tenant names it.
func SelectionOf(t *capsulev1beta2.Tenant) Selection {
	s := Selection{tenant: t.Name}
	if t.Spec.Permissions == nil {
		return s
	}
	at := field.NewPath("spec", "permissions", "matchOwners")
	for i := range t.Spec.Permissions.MatchOwners {
		if selector, _ := Selector(at.Index(i), &t.Spec.Permissions.MatchOwners[i]); selector != nil {
			s.selectors = append(s.selectors, selector)
		}
	}
	return s
}

// Matches reports whether the TenantOwner is selected, and can be understood.
func (s Selection) Matches(owner *capsulev1beta2.TenantOwner) bool {
	if _, err := Subject(owner.Spec.UserSpec); err != nil {
		return false
	}
	return owner.Labels[capsulev1beta2.ManagedTenantLabel] == s.tenant ||
		slices.ContainsFunc(s.selectors, func(selector labels.Selector) bool {
			return selector.Matches(labels.Set(owner.Labels))
		})
}

// IsPromoted reports whether a service account asks to be an owner of its tenant.
func IsPromoted(account metav1.Object) bool {
	return account.GetLabels()[capsulev1beta2.OwnerPromotionLabel] == "true"
}

// PromotedFor returns the UID of the Tenant that a service account was promoted for,
// empty if nobody has said it.
func PromotedFor(account metav1.Object) types.UID {
	return types.UID(account.GetAnnotations()[capsulev1beta2.PromotedForAnnotation])
}

// AllowsPromotion reports whether configuration and Tenant let service accounts of
// the Tenant be made owners. No configuration counts as the default one.
func AllowsPromotion(t *capsulev1beta2.Tenant, config *capsulev1beta2.CapsuleConfigurationSpec) bool {
	return config != nil && config.AllowServiceAccountPromotion &&
		(t.Spec.Permissions == nil || ptr.Deref(t.Spec.Permissions.AllowOwnerPromotion, true))
}

// PromotedOwners returns the service accounts that are owners of the Tenant by their
// label, in order of name: the first ones if there are too many.
func PromotedOwners(t *capsulev1beta2.Tenant, s Sources) []capsulev1beta2.CoreOwnerSpec {
	if len(s.Promoted) == 0 || !AllowsPromotion(t, s.Config) {
		return nil
	}
	roles := DefaultPromotionClusterRoles
	if s.Config.RBAC != nil {
		roles = orDefault(s.Config.RBAC.PromotionClusterRoles, roles)
	}
	ref := RefOf(t)
	var owners []capsulev1beta2.CoreOwnerSpec
	for _, account := range s.Promoted {
		if account.Tenant == ref && account.For == ref.UID {
			owners = append(owners, capsulev1beta2.CoreOwnerSpec{UserSpec: serviceAccount(account.Name), ClusterRoles: roles})
		}
	}
	slices.SortFunc(owners, func(a, b capsulev1beta2.CoreOwnerSpec) int { return cmp.Compare(a.Name, b.Name) })
	return owners[:min(len(owners), MaxPromoted)]
}

// NotPromoted returns the user names of the service accounts in the Tenant's namespaces
// that have the label to no effect, although configuration and Tenant allow it, each in
// order: those that were not promoted for this Tenant, and those that are too many.
func NotPromoted(t *capsulev1beta2.Tenant, s Sources) (unbound, surplus []string) {
	if !AllowsPromotion(t, s.Config) {
		return nil, nil
	}
	ref, owners := RefOf(t), PromotedOwners(t, s)
	for _, account := range s.Promoted {
		isOwner := func(owner capsulev1beta2.CoreOwnerSpec) bool { return owner.Name == account.Name }
		switch {
		case account.Tenant != ref:
		case account.For != ref.UID:
			unbound = append(unbound, account.Name)
		case !slices.ContainsFunc(owners, isOwner):
			surplus = append(surplus, account.Name)
		}
	}
	slices.Sort(unbound)
	slices.Sort(surplus)
	return unbound, surplus
}

// Administrators returns those who own every Tenant, in the order of the
// configuration. Those that cannot be understood are left out.
func Administrators(config *capsulev1beta2.CapsuleConfigurationSpec) []capsulev1beta2.CoreOwnerSpec {
	if config == nil {
		return nil
	}
	roles := DefaultAdministrationClusterRoles
	if config.RBAC != nil {
		roles = orDefault(config.RBAC.AdministrationClusterRoles, roles)
	}
	var owners []capsulev1beta2.CoreOwnerSpec
	for _, administrator := range config.Administrators {
		if _, err := Subject(administrator); err == nil {
			owners = append(owners, capsulev1beta2.CoreOwnerSpec{UserSpec: administrator, ClusterRoles: roles})
		}
	}
	return owners
}

func serviceAccount(name string) capsulev1beta2.UserSpec {
	return capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: name}
}
