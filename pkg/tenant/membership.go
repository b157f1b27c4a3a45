// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Kind is the kind of Tenants in ownerReferences.
const Kind = "Tenant"

// Ref names one life of a Tenant: another one of the same name has another UID.
type Ref struct {
	Name string
	UID  types.UID
}

// RefOf returns the Ref of a Tenant.
func RefOf(t metav1.Object) Ref { return Ref{Name: t.GetName(), UID: t.GetUID()} }

// Of returns the Tenant that a namespace says it belongs to: the one Tenant among
// its owners, of any version, which its label names, too. It is false if there
// is no such Tenant, or if label and owners disagree. Whether that Tenant exists,
// with that UID, is for the caller to find out.
func Of(namespace metav1.Object) (Ref, bool) {
	refs := References(namespace)
	if len(refs) != 1 || namespace.GetLabels()[capsulev1beta2.TenantLabel] != refs[0].Name {
		return Ref{}, false
	}
	return refs[0], true
}

// Owns reports whether the namespace belongs to this very Tenant.
func Owns(t, namespace metav1.Object) bool {
	ref, ok := Of(namespace)
	return ok && ref == RefOf(t)
}

// References returns the Tenants among an object's owners, in their order.
func References(object metav1.Object) []Ref {
	var refs []Ref
	for _, owner := range object.GetOwnerReferences() {
		if IsTenant(owner) {
			refs = append(refs, Ref{Name: owner.Name, UID: owner.UID})
		}
	}
	return refs
}

// IsTenant reports whether an ownerReference is to a Tenant, of any version.
func IsTenant(owner metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && gv.Group == capsulev1beta2.SchemeGroupVersion.Group && owner.Kind == Kind
}
