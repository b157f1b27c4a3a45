// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// rights is a set of operations on kinds, one bit each: what a Tenant gives to a
// subject, whatever objects there are. It is also the number in the name of the
// role that holds them, so that one name always stands for the same rights: the
// bits must keep their places.
type rights uint32

// getTenant is the right to get the Tenant itself, which every owner has.
const getTenant rights = 1

// operations are the places of the operations of a kind.
var operations = [...]capsulev1beta2.ProxyOperation{
	capsulev1beta2.ListOperation, capsulev1beta2.UpdateOperation, capsulev1beta2.DeleteOperation,
}

// services are the places of the kinds, after getTenant, as many bits as there are
// operations each.
var services = [...]capsulev1beta2.ProxyServiceKind{
	capsulev1beta2.NodesProxy,
	capsulev1beta2.PersistentVolumesProxy,
	capsulev1beta2.StorageClassesProxy,
	capsulev1beta2.IngressClassesProxy,
	capsulev1beta2.PriorityClassesProxy,
	capsulev1beta2.RuntimeClassesProxy,
	capsulev1beta2.TenantProxy,
}

// right returns the bit of an operation on a kind, none if there is no such kind
// or operation.
func right(service capsulev1beta2.ProxyServiceKind, operation capsulev1beta2.ProxyOperation) rights {
	s, o := slices.Index(services[:], service), slices.Index(operations[:], operation)
	if s < 0 || o < 0 {
		return 0
	}
	return 1 << (1 + s*len(operations) + o)
}

func (r rights) has(service capsulev1beta2.ProxyServiceKind, operation capsulev1beta2.ProxyOperation) bool {
	bit := right(service, operation)
	return bit != 0 && r&bit != 0
}

// anyOf reports whether r holds any operation on the kind.
func (r rights) anyOf(service capsulev1beta2.ProxyServiceKind) bool {
	return slices.ContainsFunc(operations[:], func(o capsulev1beta2.ProxyOperation) bool { return r.has(service, o) })
}

// policy says which of the rights that manifests name are compiled.
type policy struct{ writeOperations bool }

// compiled returns the rights that settings name, but for those that are never
// given: no operation changes or deletes a Tenant.
func (p policy) compiled(settings []capsulev1beta2.ProxyOperations) rights {
	var r rights
	for _, setting := range settings {
		for _, operation := range setting.Operations {
			if operation == capsulev1beta2.ListOperation || p.writeOperations && setting.Kind != capsulev1beta2.TenantProxy {
				r |= right(setting.Kind, operation)
			}
		}
	}
	return r
}

// subjectRights returns what a Tenant and the ProxySettings in its namespaces give
// to whom. All owners may get the Tenant; those in its spec have their proxySettings,
// too. Owners whose name cannot be understood get nothing.
//
// A ProxySetting gives at most what some owner holds: whoever may write it in a
// namespace speaks for the owners, and for nobody else.
func (p policy) subjectRights(
	t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec, settings []capsulev1beta2.ProxySubject,
) map[rbacv1.Subject]rights {
	given := map[rbacv1.Subject]rights{}
	for i := range owners {
		if subject, err := tenant.Subject(owners[i].UserSpec); err == nil {
			given[subject] |= getTenant
		}
	}
	for i := range t.Spec.Owners {
		subject, err := tenant.Subject(t.Spec.Owners[i].UserSpec)
		if r := p.compiled(t.Spec.Owners[i].ProxySettings); err == nil && r != 0 {
			given[subject] |= r
		}
	}
	held := p.held(t)
	for i := range settings {
		subject, err := tenant.Subject(settings[i].UserSpec)
		if r := p.compiled(settings[i].ProxySettings) & held; err == nil && r != 0 {
			given[subject] |= r
		}
	}
	return given
}

// held returns what the owners of a Tenant hold together.
func (p policy) held(t *capsulev1beta2.Tenant) rights {
	var held rights
	for i := range t.Spec.Owners {
		if _, err := tenant.Subject(t.Spec.Owners[i].UserSpec); err == nil {
			held |= p.compiled(t.Spec.Owners[i].ProxySettings)
		}
	}
	return held
}

// refused returns what a ProxySetting asks for and does not give, because no
// owner of the Tenant holds it, each once.
func (p policy) refused(t *capsulev1beta2.Tenant, settings []capsulev1beta2.ProxySubject) []capsulev1beta2.RefusedOperation {
	held := p.held(t)
	var refused []capsulev1beta2.RefusedOperation
	seen := sets.New[capsulev1beta2.RefusedOperation]()
	for i := range settings {
		for _, setting := range settings[i].ProxySettings {
			for _, operation := range setting.Operations {
				r := capsulev1beta2.RefusedOperation{Subject: settings[i].UserSpec, Kind: setting.Kind, Operation: operation}
				if !held.has(setting.Kind, operation) && !seen.Has(r) {
					seen.Insert(r)
					refused = append(refused, r)
				}
			}
		}
	}
	return refused
}
