// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// kind is one of the two kinds of subjects.
type kind struct {
	gvk schema.GroupVersionKind
	// controller is the name of its controller.
	controller string
	// prefix begins the names of its field managers.
	prefix string
	// labels are on what is made for it, and extra is part of the user as whom.
	labels    map[string]any
	extra     map[string][]string
	newObject func() client.Object
	newList   func() client.ObjectList
	subject   func(client.Object) *subject
}

// subject is a TenantResource or a GlobalTenantResource.
type subject struct {
	client.Object
	variant

	prefix string
	spec   *capsulev1beta2.ReplicationSpec
	status *capsulev1beta2.ReplicationStatus
	// stored is the object as the API server last returned it, while it is being
	// reconciled.
	stored client.Object
}

// variant is what the two kinds do each in its way.
type variant interface {
	// account returns the service account to act as, given the defaults of the
	// configuration. The error is a failureError.
	account(defaults *capsulev1beta2.ImpersonationConfiguration) (account, error)
	// mayAct reports whether a service account of a namespace may be acted as,
	// whoever wrote its name into the status.
	mayAct(namespace string) bool
	// reach returns what the objects are made for. The error may be a failureError.
	reach(ctx context.Context, reader client.Reader) (*reach, error)
	// setTenants writes into the status which tenants are selected.
	setTenants(names []string)
	// deepCopy returns the object once more.
	deepCopy() client.Object
}

// reach is what a subject is about.
type reach struct {
	// targets are what its objects are made once for, in order.
	targets []target
	// tenants are the names of the tenants that it selects, in order.
	tenants []string
	// home is the namespace of sources that name none, or empty.
	home string
	// readable are the namespaces of sources; nil where any is.
	readable map[string]bool
	// of says whose the readable namespaces are.
	of string
}

// target is what objects are made once for.
type target struct {
	// tenant is nil if they are made once in all.
	tenant *capsulev1beta2.Tenant
	// namespace is nil unless they are made for each namespace. It is the cache's
	// own.
	namespace *metav1.PartialObjectMetadata
}

func (t target) tenantName() string {
	if t.tenant == nil {
		return ""
	}
	return t.tenant.Name
}

func (t target) namespaceName() string {
	if t.namespace == nil {
		return ""
	}
	return t.namespace.Name
}

// manager returns the name of the field manager of a subject: its own, in each of its
// lives, and short enough.
func (s *subject) manager() string {
	const limit = 128
	name := s.prefix + "/" + objects.Name(client.ObjectKeyFromObject(s))
	uid := "/" + string(s.GetUID())
	return name[:min(len(name), limit-len(uid))] + uid
}

type local struct{ *capsulev1beta2.TenantResource }

func localKind() kind {
	k := kind{
		gvk:        capsulev1beta2.SchemeGroupVersion.WithKind("TenantResource"),
		controller: "tenantresources",
		prefix:     "tr",
		labels:     map[string]any{capsulev1beta2.CreatedByLabel: capsulev1beta2.ManagedByReplications},
		newObject:  func() client.Object { return &capsulev1beta2.TenantResource{} },
		newList:    func() client.ObjectList { return &capsulev1beta2.TenantResourceList{} },
	}
	k.subject = func(object client.Object) *subject {
		o := object.(*capsulev1beta2.TenantResource) //nolint:forcetypeassert // newObject made it
		return &subject{
			Object: o, variant: local{o}, prefix: k.prefix,
			spec: &o.Spec.ReplicationSpec, status: &o.Status.ReplicationStatus,
		}
	}
	return k
}

func (l local) deepCopy() client.Object { return l.DeepCopy() }

func (l local) setTenants([]string) {}

func (l local) mayAct(namespace string) bool { return namespace == l.Namespace }

func (l local) account(defaults *capsulev1beta2.ImpersonationConfiguration) (account, error) {
	switch {
	case l.Spec.ServiceAccount != nil:
		return newAccount("spec.serviceAccount", l.Namespace, l.Spec.ServiceAccount.Name)
	case defaults != nil && defaults.TenantDefaultServiceAccount != "":
		return newAccount("impersonation.tenantDefaultServiceAccount of the configuration", l.Namespace, defaults.TenantDefaultServiceAccount)
	}
	return account{}, &failureError{reasonNoAccount,
		"no service account to act as: set spec.serviceAccount.name, or have an administrator set spec.impersonation.tenantDefaultServiceAccount of the CapsuleConfiguration"}
}

func (l local) reach(ctx context.Context, reader client.Reader) (*reach, error) {
	home := objects.Metadata(objects.NamespaceKind)
	if err := reader.Get(ctx, client.ObjectKey{Name: l.Namespace}, home, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("get namespace %s: %w", l.Namespace, err)
	}
	t, err := objects.TenantOf(ctx, reader, home)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, &failureError{reasonNoTenant, fmt.Sprintf(
			"the namespace %s belongs to no tenant: a TenantResource makes objects in the namespaces of its own namespace's tenant", l.Namespace)}
	}
	namespaces, err := livingNamespaces(ctx, reader, t)
	if err != nil {
		return nil, err
	}
	r := &reach{tenants: []string{t.Name}, home: l.Namespace, readable: map[string]bool{}, of: t.Name}
	for i := range namespaces {
		r.readable[namespaces[i].Name] = true
		r.targets = append(r.targets, target{t, &namespaces[i]})
	}
	return r, nil
}

type global struct {
	*capsulev1beta2.GlobalTenantResource
}

func globalKind() kind {
	k := kind{
		gvk:        capsulev1beta2.SchemeGroupVersion.WithKind("GlobalTenantResource"),
		controller: "globaltenantresources",
		prefix:     "gtr",
		labels: map[string]any{
			capsulev1beta2.CreatedByLabel: capsulev1beta2.ManagedByReplications, replicatedByLabel: "GlobalTenantResource",
		},
		extra:     map[string][]string{replicationExtra: {"GlobalTenantResource"}},
		newObject: func() client.Object { return &capsulev1beta2.GlobalTenantResource{} },
		newList:   func() client.ObjectList { return &capsulev1beta2.GlobalTenantResourceList{} },
	}
	k.subject = func(object client.Object) *subject {
		o := object.(*capsulev1beta2.GlobalTenantResource) //nolint:forcetypeassert // newObject made it
		return &subject{
			Object: o, variant: global{o}, prefix: k.prefix,
			spec: &o.Spec.ReplicationSpec, status: &o.Status.ReplicationStatus,
		}
	}
	return k
}

func (g global) deepCopy() client.Object { return g.DeepCopy() }

func (g global) setTenants(names []string) { g.Status.SelectedTenants = names }

func (g global) mayAct(string) bool { return true }

func (g global) account(defaults *capsulev1beta2.ImpersonationConfiguration) (account, error) {
	switch {
	case g.Spec.ServiceAccount != nil:
		return newAccount("spec.serviceAccount", g.Spec.ServiceAccount.Namespace, g.Spec.ServiceAccount.Name)
	case defaults != nil && defaults.GlobalDefaultServiceAccount != "":
		return newAccount("impersonation.globalDefaultServiceAccount of the configuration",
			defaults.GlobalDefaultServiceAccountNamespace, defaults.GlobalDefaultServiceAccount)
	}
	return account{}, &failureError{reasonNoAccount,
		"no service account to act as: set spec.serviceAccount.name and namespace, or spec.impersonation.globalDefaultServiceAccount and globalDefaultServiceAccountNamespace of the CapsuleConfiguration"}
}

func (g global) reach(ctx context.Context, reader client.Reader) (*reach, error) {
	r := &reach{}
	selector := &metav1.LabelSelector{}
	if g.Spec.TenantSelector != nil {
		selector = g.Spec.TenantSelector
	}
	selected, errs := tenant.Selector(field.NewPath("spec", "tenantSelector"), selector)
	if len(errs) > 0 {
		return nil, &failureError{capsulev1beta2.FailedReason, errs.ToAggregate().Error()}
	}
	var tenants capsulev1beta2.TenantList
	if err := reader.List(ctx, &tenants, client.MatchingLabelsSelector{Selector: selected}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	slices.SortFunc(tenants.Items, func(a, b capsulev1beta2.Tenant) int { return cmp.Compare(a.Name, b.Name) })
	for i := range tenants.Items {
		t := &tenants.Items[i]
		r.tenants = append(r.tenants, t.Name)
		switch g.Spec.Scope {
		case capsulev1beta2.ReplicationScopeNone:
		case capsulev1beta2.ReplicationScopeTenant:
			r.targets = append(r.targets, target{tenant: t})
		default:
			namespaces, err := livingNamespaces(ctx, reader, t)
			if err != nil {
				return nil, err
			}
			for j := range namespaces {
				r.targets = append(r.targets, target{t, &namespaces[j]})
			}
		}
	}
	if g.Spec.Scope == capsulev1beta2.ReplicationScopeNone {
		r.targets = []target{{}}
	}
	return r, nil
}

// livingNamespaces returns the namespaces of a Tenant that are not being deleted, in
// alphabetical order. They are the cache's own.
func livingNamespaces(ctx context.Context, reader client.Reader, t *capsulev1beta2.Tenant) ([]metav1.PartialObjectMetadata, error) {
	namespaces, err := objects.NamespacesOf(ctx, reader, t)
	if err != nil {
		return nil, err
	}
	namespaces = slices.DeleteFunc(namespaces, func(n metav1.PartialObjectMetadata) bool { return n.DeletionTimestamp != nil })
	slices.SortFunc(namespaces, func(a, b metav1.PartialObjectMetadata) int { return cmp.Compare(a.Name, b.Name) })
	return namespaces, nil
}
