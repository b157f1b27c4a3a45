// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// namePrefix begins the names of RoleBindings that Capsule has managed since 0.13, and
// indexedNamePrefix of everything else that it manages.
const namePrefix, indexedNamePrefix = "capsule:managed:", "capsule-"

// kind is a kind of objects of which each namespace of a Tenant has some. Callers must
// not modify what its functions return.
type kind struct {
	gvk schema.GroupVersionKind
	// label marks the objects. Its value tells those of a Tenant apart.
	label  string
	object client.Object
	list   func() client.ObjectList
	// wanted returns what each namespace of a Tenant should have, by name and without
	// the namespace, as the API server completes it.
	wanted func(t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec) map[string]client.Object
	// says reports whether an object says what is wanted, metadata aside, and canSay
	// whether it can be made to.
	says, canSay func(is, want client.Object) bool
	// create makes an object that is not among the cached ones, in its namespace;
	// change makes one that is there say what is wanted.
	create func(ctx context.Context, a objects.Applier, want client.Object) error
	change func(ctx context.Context, a objects.Applier, is, want client.Object) error
	// explain says what an error of writing an object means, see refusal.
	explain func(err error, want client.Object) error
}

// typed is a kind whose objects have a type.
type typed[T client.Object] struct {
	gvk    schema.GroupVersionKind
	label  string
	object T
	list   func() client.ObjectList
	wanted func(t *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec) []T
	says   func(is, want T) bool
	// canSay is nil if everything can be said of an object that is there.
	canSay func(is, want T) bool
	create func(ctx context.Context, a objects.Applier, want T) error
	change func(ctx context.Context, a objects.Applier, is, want T) error
	// explain is nil where there is nothing to explain.
	explain func(err error, want T) error
}

// kindOf returns the kind, which is given objects of its type and no others.
//
//nolint:forcetypeassert // see there
func kindOf[T client.Object](t typed[T]) *kind {
	k := &kind{
		gvk: t.gvk, label: t.label, object: t.object, list: t.list,
		wanted: func(tenant *capsulev1beta2.Tenant, owners []capsulev1beta2.CoreOwnerSpec) map[string]client.Object {
			byName := map[string]client.Object{}
			for _, object := range t.wanted(tenant, owners) {
				byName[object.GetName()] = object
			}
			return byName
		},
		says:   func(is, want client.Object) bool { return t.says(is.(T), want.(T)) },
		canSay: func(client.Object, client.Object) bool { return true },
		create: func(ctx context.Context, a objects.Applier, want client.Object) error {
			return t.create(ctx, a, want.(T))
		},
		change: func(ctx context.Context, a objects.Applier, is, want client.Object) error {
			return t.change(ctx, a, is.(T), want.(T))
		},
		explain: func(err error, want client.Object) error {
			err = fmt.Errorf("write %s %s: %w", t.gvk.Kind, want.GetName(), err)
			if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
				return &refusal{err}
			}
			return err
		},
	}
	if t.canSay != nil {
		k.canSay = func(is, want client.Object) bool { return t.canSay(is.(T), want.(T)) }
	}
	if t.explain != nil {
		k.explain = func(err error, want client.Object) error { return t.explain(err, want.(T)) }
	}
	return k
}

// whoever returns what a Tenant wants whoever owns it.
func whoever[T client.Object](wanted func(*capsulev1beta2.Tenant) []T) func(*capsulev1beta2.Tenant, []capsulev1beta2.CoreOwnerSpec) []T {
	return func(t *capsulev1beta2.Tenant, _ []capsulev1beta2.CoreOwnerSpec) []T { return wanted(t) }
}

// kinds returns all kinds, in the order in which they are written: what limits a
// namespace, or marks what is made there, is there before anybody can use it.
func kinds() [][]*kind {
	return [][]*kind{{networkPolicies(), limitRanges(), resourceQuotas(), namespacePolicies()}, {roleBindings()}}
}

// managed returns the metadata of an object that each namespace of a Tenant has.
func managed(t *capsulev1beta2.Tenant, name, label, value string) metav1.ObjectMeta {
	isController := true
	return metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			capsulev1beta2.ManagedByLabel:     capsulev1beta2.ManagedByController,
			capsulev1beta2.ManagedTenantLabel: t.Name,
			label:                             value,
		},
		// It does not block the Tenant's deletion: there is nothing to wait for, and
		// to set blockOwnerDeletion takes the right to update the finalizers of
		// Tenants where the API server checks that.
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: tenant.Kind, Name: t.Name, UID: t.UID, Controller: &isController,
		}},
	}
}

// isManaged reports whether an object is one that this controller, or Capsule in its
// place, has made. Others may carry the label, too.
func (k *kind) isManaged(object client.Object) bool {
	labels := object.GetLabels()
	if _, ok := labels[k.label]; !ok {
		return false
	}
	if !strings.HasPrefix(object.GetName(), namePrefix) && !strings.HasPrefix(object.GetName(), indexedNamePrefix) {
		return false
	}
	if labels[capsulev1beta2.ManagedTenantLabel] != "" {
		return true
	}
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && tenant.IsTenant(*controller)
}

// isRight reports whether there is nothing to write.
func (k *kind) isRight(is, want client.Object) bool {
	return k.canBecome(is, want) && k.says(is, want) &&
		objects.HasMetadata(is, want.GetLabels(), want.GetAnnotations()) &&
		metav1.IsControlledBy(is, &metav1.ObjectMeta{UID: want.GetOwnerReferences()[0].UID})
}

// canBecome reports whether an object can be changed into another one. The one of an
// earlier life of the Tenant is about to be collected as garbage, for good or after
// it was changed.
func (k *kind) canBecome(is, want client.Object) bool {
	if !k.canSay(is, want) {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(is)
	return controller == nil || controller.UID == want.GetOwnerReferences()[0].UID
}

// present returns the managed objects of a namespace by name. They are the cache's
// own.
func (k *kind) present(ctx context.Context, reader client.Reader, namespace string) (map[string]client.Object, error) {
	list := k.list()
	if err := reader.List(ctx, list, client.InNamespace(namespace), client.HasLabels{k.label}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list %s of namespace %s: %w", k.gvk.Kind, namespace, err)
	}
	present := map[string]client.Object{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(client.Object); ok && k.isManaged(object) {
			present[object.GetName()] = object
		}
		return nil
	})
	return present, err
}

// change is an object as it is and as it should be. Either may be nil.
type change struct {
	kind     *kind
	is, want client.Object
}

// stays reports whether there is an object whatever becomes of the change.
func (c change) stays() bool { return c.is != nil && c.kind.canBecome(c.is, c.want) }

// standsIn reports whether a leftover says what this change was to make: what an
// earlier Capsule made by another name.
func (c change) standsIn(leftover change) bool {
	return c.kind == leftover.kind && c.kind.canSay(leftover.is, c.want) && c.kind.says(leftover.is, c.want)
}

// changes returns what is to be written and what is to be deleted, in order of name.
func (k *kind) changes(present, wanted map[string]client.Object) (missing, leftovers []change) {
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if is, want := present[name], wanted[name]; is == nil || !k.isRight(is, want) {
			missing = append(missing, change{k, is, want})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if wanted[name] == nil {
			leftovers = append(leftovers, change{kind: k, is: present[name]})
		}
	}
	return missing, leftovers
}

// refusal is an error that stays until somebody else does something about it.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// explained says what an error of writing an object means. It says the same in each
// namespace where the reason is the same.
func (k *kind) explained(err error, want client.Object) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*objects.ForeignError](err); ok {
		return &refusal{err}
	}
	return k.explain(err, want)
}
