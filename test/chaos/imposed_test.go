// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// This file says what is in the namespaces of Tenants, object by object.

// The labels of what a Tenant has in its namespaces.
const (
	tenantMark  = "projectcapsule.dev/tenant"
	managerMark = "projectcapsule.dev/managed-by"
)

// indexMarks say of which item of the Tenant's list an object is; of a RoleBinding
// they hold what its name ends with.
var indexMarks = map[*kind]string{
	roleBindings:    "capsule.clastix.io/role-binding",
	networkPolicies: "capsule.clastix.io/network-policy",
	limitRanges:     "capsule.clastix.io/limit-range",
	resourceQuotas:  "capsule.clastix.io/resource-quota",
}

// thing is all of an object in a namespace but what the API server gives it.
type thing struct {
	Labels, Annotations map[string]string
	Owners              []metav1.OwnerReference
	Finalizers          []string
	Says                any
}

func thingOf(object client.Object) thing {
	return thing{object.GetLabels(), object.GetAnnotations(), object.GetOwnerReferences(), object.GetFinalizers(), saying(object)}
}

// saying returns what an object says, metadata and state aside.
func saying(object client.Object) any {
	switch object := object.(type) {
	case *rbacv1.RoleBinding:
		return bindingSaying{object.RoleRef, object.Subjects}
	case *networkingv1.NetworkPolicy:
		return object.Spec
	case *corev1.LimitRange:
		return object.Spec
	case *corev1.ResourceQuota:
		return object.Spec
	default:
		return nil
	}
}

type bindingSaying struct {
	RoleRef  rbacv1.RoleRef
	Subjects []rbacv1.Subject
}

// itemsOf returns what a Tenant imposes, item by item.
func itemsOf(t *capsulev1beta2.Tenant, k *kind) []any {
	switch {
	case k == networkPolicies && t.Spec.NetworkPolicies != nil:
		return complete(t.Spec.NetworkPolicies.Items, policyItems)
	case k == limitRanges && t.Spec.LimitRanges != nil:
		return complete(t.Spec.LimitRanges.Items, limitItems)
	case k == resourceQuotas && t.Spec.ResourceQuotas != nil:
		return complete(t.Spec.ResourceQuotas.Items, quotaItems)
	default:
		return nil
	}
}

func itemName(t *capsulev1beta2.Tenant, i int) string { return fmt.Sprintf("capsule-%s-%d", t.Name, i) }

// newThing returns what every object for a namespace of a Tenant is.
func newThing(t *capsulev1beta2.Tenant, k *kind, index string, says any) thing {
	return thing{
		Labels: map[string]string{managerMark: "controller", tenantMark: t.Name, indexMarks[k]: index},
		Owners: []metav1.OwnerReference{{
			APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: t.Name, UID: t.UID, Controller: new(true),
		}},
		Says: says,
	}
}

// wanted returns what the controller should have made of a kind in a namespace of a
// Tenant, by name. RoleBindings are named by what they say.
func (s state) wanted(in inputs, t *capsulev1beta2.Tenant, k *kind, namespace string) map[string]thing {
	want := map[string]thing{}
	if k == roleBindings {
		for says, labels := range in.bindingsOf(t) {
			w := newThing(t, k, "", nil)
			maps.Copy(w.Labels, labels)
			want[says] = w
		}
	}
	for i, item := range itemsOf(t, k) {
		w := newThing(t, k, strconv.Itoa(i), item)
		if k == resourceQuotas && t.Spec.ResourceQuotas.Scope != capsulev1beta2.ResourceQuotaScopeNamespace {
			s.share(in, t, &w, i, namespace)
		}
		want[itemName(t, i)] = w
	}
	return want
}

// share makes of a quota one that the namespaces of its Tenant share: each may use what
// it does, and what is left.
func (s state) share(in inputs, t *capsulev1beta2.Tenant, w *thing, item int, namespace string) {
	spec := w.Says.(corev1.ResourceQuotaSpec)
	spec.Hard = maps.Clone(spec.Hard)
	w.Says, w.Annotations = spec, map[string]string{}
	for name, limit := range spec.Hard {
		total, mine := int64(0), int64(0)
		for _, other := range in[namespaces] {
			quota, ok := s[id{resourceQuotas, client.ObjectKey{Namespace: other.GetName(), Name: itemName(t, item)}}].(*corev1.ResourceQuota)
			if !ok || !belongs(other, t) || quota.Labels[tenantMark] != t.Name || quota.Labels[indexMarks[resourceQuotas]] != strconv.Itoa(item) {
				continue
			}
			used := quota.Status.Used[name]
			total += used.Value()
			if other.GetName() == namespace {
				mine = used.Value()
			}
		}
		spec.Hard[name] = *resource.NewQuantity(max(0, limit.Value()-total)+mine, resource.DecimalSI)
		annotation := strings.ReplaceAll(string(name), "/", "_")
		w.Annotations["quota.capsule.clastix.io/hard-"+annotation] = limit.String()
		w.Annotations["quota.capsule.clastix.io/used-"+annotation] = strconv.FormatInt(total, 10)
	}
}

// present returns what the controller can know as its own of a kind in a namespace, and
// what is called like something wanted, by name as wanted things are. Whoever takes the
// marks off what is not wanted any more has it for himself.
func present(k *kind, objects []client.Object, want map[string]thing) map[string]thing {
	found := map[string]thing{}
	for _, object := range objects {
		name, is := object.GetName(), thingOf(object)
		index := is.Labels[indexMarks[k]]
		if k == roleBindings {
			suffix, ours := strings.CutPrefix(name, "capsule:managed:")
			if !ours {
				continue
			}
			name = fmt.Sprint(is.Says)
			if _, twice := found[name]; index == suffix && !twice {
				is.Says, is.Labels = nil, maps.Clone(is.Labels)
				is.Labels[indexMarks[k]] = ""
			}
		}
		if _, wanted := want[name]; wanted || index != "" && (is.Labels[tenantMark] != "" || len(is.Owners) > 0) {
			found[name] = is
		}
	}
	return found
}

// unlimited returns the namespaces in which others have made something in the place of
// what is to limit them. Nobody is let in there who was not there before.
func unlimited(s state) sets.Set[string] {
	in, names := inputsOf(s), sets.New[string]()
	for _, namespace := range in[namespaces] {
		t := tenantOf(in, namespace)
		if t == nil {
			continue
		}
		for _, k := range inNamespaces {
			for i := range itemsOf(t, k) {
				if object, ok := s[id{k, client.ObjectKey{Namespace: namespace.GetName(), Name: itemName(t, i)}}]; ok && isForeign(object) {
					names.Insert(namespace.GetName())
				}
			}
		}
	}
	return names
}

// misplaced says what in the namespaces of Tenants is not as it should be.
func misplaced(s state) string {
	in, gone, waits := inputsOf(s), terminating(s), unlimited(s)
	type place struct {
		kind      *kind
		namespace string
	}
	objects, others := map[place][]client.Object{}, map[place][]string{}
	for i, object := range s {
		if at := (place{i.kind, i.key.Namespace}); isForeign(object) {
			others[at] = append(others[at], i.key.Name)
		} else {
			objects[at] = append(objects[at], object)
		}
	}
	for _, namespace := range in[namespaces] {
		if gone.Has(namespace.GetName()) {
			continue
		}
		t := tenantOf(in, namespace)
		for _, k := range inNamespaces {
			at, want := place{k, namespace.GetName()}, map[string]thing{}
			if t != nil {
				want = s.wanted(in, t, k, at.namespace)
			}
			// Nothing can be made in the place of what others have made.
			maps.DeleteFunc(want, func(name string, _ thing) bool { return slices.Contains(others[at], name) })
			found := present(k, objects[at], want)
			if k == roleBindings && waits.Has(at.namespace) {
				maps.DeleteFunc(want, func(name string, _ thing) bool { _, ok := found[name]; return !ok })
			}
			if diff := cmp.Diff(want, found, cmpopts.EquateEmpty()); diff != "" {
				return fmt.Sprintf("%s in %s (-want +got):\n%s", k, at.namespace, diff)
			}
		}
		if problem := mislabelled(namespace, t); problem != "" {
			return problem
		}
	}
	return ""
}

// tenantOf returns the Tenant of a namespace, or nil.
func tenantOf(in inputs, namespace client.Object) *capsulev1beta2.Tenant {
	for _, object := range in[tenants] {
		if t := object.(*capsulev1beta2.Tenant); belongs(namespace, t) {
			return t
		}
	}
	return nil
}
