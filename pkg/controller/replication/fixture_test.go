// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/applyconfigurations"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// scheme holds no more than is needed: the fake client walks through it on each write.
var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return scheme
}()

// converters take long to make.
var converters = []managedfields.TypeConverter{applyconfigurations.NewTypeConverter(scheme), managedfields.NewDeducedTypeConverter()}

var (
	configMapKind = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	start         = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// cluster is a cluster for the reconcilers of both kinds.
type cluster struct {
	client.Client

	local, global *reconciler
	clock         *clocktesting.FakePassiveClock

	// lock protects what is below.
	lock sync.Mutex
	// writes says what was written as service accounts, and subjects what of subjects
	// was written by the controller.
	writes   []string
	subjects []string
	// refuse, if set, decides about requests of service accounts.
	refuse func(verb, object string) error
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind, scope := range map[schema.GroupVersionKind]meta.RESTScope{
		configMapKind: meta.RESTScopeNamespace, corev1.SchemeGroupVersion.WithKind("Secret"): meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Service"): meta.RESTScopeNamespace,
		objects.NamespaceKind:                         meta.RESTScopeRoot, rbacv1.SchemeGroupVersion.WithKind("ClusterRole"): meta.RESTScopeRoot,
		capsulev1beta2.SchemeGroupVersion.WithKind("Tenant"):               meta.RESTScopeRoot,
		capsulev1beta2.SchemeGroupVersion.WithKind("CapsuleConfiguration"): meta.RESTScopeRoot,
		capsulev1beta2.SchemeGroupVersion.WithKind("TenantResource"):       meta.RESTScopeNamespace,
		capsulev1beta2.SchemeGroupVersion.WithKind("GlobalTenantResource"): meta.RESTScopeRoot,
	} {
		mapper.Add(kind, scope)
	}
	c := &cluster{clock: clocktesting.NewFakePassiveClock(start)}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithReturnManagedFields().WithTypeConverters(converters...).
		WithObjects(given...).WithStatusSubresource(&capsulev1beta2.TenantResource{}, &capsulev1beta2.GlobalTenantResource{}).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).Build()
	c.Client = underlying
	own := interceptor.NewClient(underlying, interceptor.Funcs{
		Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			c.record(&c.subjects, "finalizers "+object.GetName())
			return underlying.Patch(ctx, object, patch, options...)
		},
		SubResourcePatch: func(ctx context.Context, underlying client.Client, subresource string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			c.record(&c.subjects, subresource+" "+object.GetName())
			return underlying.SubResource(subresource).Patch(ctx, object, patch, options...)
		},
	})
	as := func(a account) (client.Client, error) { return c.as(underlying, a), nil }
	kinds, room := newKinds(mapper, c.clock), newRoom()
	c.local = &reconciler{own, localKind(), c.clock, kinds, as, capsulev1beta2.DefaultConfigurationName, newMemory(), newTurns(), room}
	c.global = &reconciler{own, globalKind(), c.clock, kinds, as, capsulev1beta2.DefaultConfigurationName, newMemory(), newTurns(), room}
	return c
}

func (c *cluster) record(list *[]string, what string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	*list = append(*list, what)
}

// ask records a request of a service account, and decides about it.
func (c *cluster) ask(a account, verb string, key client.ObjectKey, isWrite bool) error {
	if isWrite {
		c.record(&c.writes, fmt.Sprintf("%s: %s %s", a, verb, key))
	}
	if c.refuse != nil {
		return c.refuse(verb, key.String())
	}
	return nil
}

// as returns a client of a service account, with what the fake lacks: the preconditions
// of applying.
func (c *cluster) as(underlying client.WithWatch, a account) client.Client {
	return interceptor.NewClient(underlying, interceptor.Funcs{
		Get: func(ctx context.Context, underlying client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if err := c.ask(a, "get", key, false); err != nil {
				return err
			}
			return underlying.Get(ctx, key, object, options...)
		},
		Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			object, ok := wanted.(interface {
				client.Object
				runtime.ApplyConfiguration
			})
			if !ok {
				return fmt.Errorf("%T is no object", wanted)
			}
			key := client.ObjectKeyFromObject(object)
			verb := "apply"
			present := objects.Metadata(object.GetObjectKind().GroupVersionKind())
			err := underlying.Get(ctx, key, present)
			conflict := apierrors.NewConflict(schema.GroupResource{}, key.Name, fmt.Errorf("precondition"))
			switch {
			case client.IgnoreNotFound(err) != nil:
				return err
			case object.GetResourceVersion() == noVersion && err == nil, object.GetUID() != "" && object.GetUID() != present.UID:
				return conflict
			case object.GetResourceVersion() == noVersion:
				verb = "make"
				object.SetResourceVersion("")
			}
			if err := c.ask(a, verb, key, true); err != nil {
				return err
			}
			return underlying.Apply(ctx, wanted, options...)
		},
		Delete: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			if err := c.ask(a, "delete", client.ObjectKeyFromObject(object), true); err != nil {
				return err
			}
			return underlying.Delete(ctx, object, options...)
		},
		Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := c.ask(a, "patch", client.ObjectKeyFromObject(object), true); err != nil {
				return err
			}
			return underlying.Patch(ctx, object, patch, options...)
		},
	})
}

// takeWrites returns what was written as service accounts since it was asked last.
func (c *cluster) takeWrites() []string {
	c.lock.Lock()
	defer c.lock.Unlock()
	writes := c.writes
	c.writes = nil
	slices.Sort(writes)
	return writes
}

func (c *cluster) takeSubjects() []string {
	c.lock.Lock()
	defer c.lock.Unlock()
	subjects := c.subjects
	c.subjects = nil
	return subjects
}

// reconcile reconciles a subject, and reads it back if it is still there.
func (c *cluster) reconcile(tb testing.TB, object client.Object) reconcile.Result {
	tb.Helper()
	r := c.local
	if _, ok := object.(*capsulev1beta2.GlobalTenantResource); ok {
		r = c.global
	}
	result, err := r.Reconcile(tb.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
	if err != nil {
		tb.Fatal(err)
	}
	c.refresh(tb, object)
	return result
}

func (c *cluster) refresh(tb testing.TB, object client.Object) {
	tb.Helper()
	if err := c.Get(tb.Context(), client.ObjectKeyFromObject(object), object); client.IgnoreNotFound(err) != nil {
		tb.Fatal(err)
	}
}

// edit changes the spec of a subject.
func edit[T client.Object](tb testing.TB, c *cluster, object T, how func(T)) {
	tb.Helper()
	c.refresh(tb, object)
	how(object)
	object.SetGeneration(object.GetGeneration() + 1)
	if err := c.Update(tb.Context(), object, client.FieldOwner("somebody")); err != nil {
		tb.Fatal(err)
	}
}

func compare[T any](tb testing.TB, what string, want, got T) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// ready returns what the condition Ready of a subject says.
func ready(object client.Object) string {
	k := localKind()
	if _, ok := object.(*capsulev1beta2.GlobalTenantResource); ok {
		k = globalKind()
	}
	condition := meta.FindStatusCondition(k.subject(object).status.Conditions, capsulev1beta2.ReadyCondition)
	if condition == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
}

// entries returns what a status says of items, in short.
func entries(status capsulev1beta2.ReplicationStatus) []string {
	lines := []string{}
	for _, item := range status.ProcessedItems {
		line := fmt.Sprintf("%s/%s %s", item.Namespace, item.Name, item.Status.Status)
		if item.Status.Created {
			line += " created"
		}
		if item.Status.LastApply != nil {
			line += " " + item.Status.LastApply.UTC().Format(time.TimeOnly)
		}
		lines = append(lines, line)
	}
	return lines
}

// data returns what the ConfigMap "x" of a namespace holds, or nil if there is none.
func (c *cluster) data(tb testing.TB, namespace string) map[string]string {
	tb.Helper()
	var configMap corev1.ConfigMap
	if err := c.Get(tb.Context(), client.ObjectKey{Namespace: namespace, Name: "x"}, &configMap); err != nil {
		if client.IgnoreNotFound(err) != nil {
			tb.Fatal(err)
		}
		return nil
	}
	return configMap.Data
}

func tenantNamed(name string, labels ...string) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-uid")}}
	for pair := range slices.Chunk(labels, 2) {
		metav1.SetMetaDataLabel(&t.ObjectMeta, pair[0], pair[1])
	}
	return t
}

func namespaceOf(tenant, name string, labels ...string) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{capsulev1beta2.TenantLabel: tenant},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: "Tenant", Name: tenant, UID: types.UID(tenant + "-uid"),
		}},
	}}
	for pair := range slices.Chunk(labels, 2) {
		metav1.SetMetaDataLabel(&namespace.ObjectMeta, pair[0], pair[1])
	}
	return namespace
}

func configMap(namespace, name string, data map[string]string, labels ...string) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name)}, Data: data}
	for pair := range slices.Chunk(labels, 2) {
		metav1.SetMetaDataLabel(&c.ObjectMeta, pair[0], pair[1])
	}
	return c
}

// rawItem returns a ConfigMap as an item.
func rawItem(name string, pairs ...string) runtime.RawExtension {
	u := unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}}}
	u.SetGroupVersionKind(configMapKind)
	data := map[string]any{}
	for pair := range slices.Chunk(pairs, 2) {
		data[pair[0]] = pair[1]
	}
	u.Object["data"] = data
	raw, err := u.MarshalJSON()
	utilruntime.Must(err)
	return runtime.RawExtension{Raw: raw}
}

func rawItems(items ...runtime.RawExtension) []capsulev1beta2.ReplicatedResources {
	return []capsulev1beta2.ReplicatedResources{{RawItems: items}}
}

// oil is a tenant with two namespaces, for whose subjects there is a default account.
func oil() []client.Object {
	return []client.Object{
		&capsulev1beta2.CapsuleConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: capsulev1beta2.DefaultConfigurationName},
			Spec: capsulev1beta2.CapsuleConfigurationSpec{Impersonation: &capsulev1beta2.ImpersonationConfiguration{
				TenantDefaultServiceAccount: "sa", GlobalDefaultServiceAccount: "sa", GlobalDefaultServiceAccountNamespace: "system",
			}},
		},
		tenantNamed("oil", "size", "big"), namespaceOf("oil", "oil-a"), namespaceOf("oil", "oil-b", "env", "prod"),
		tenantNamed("gas"), namespaceOf("gas", "gas-a"),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "free"}},
	}
}

func localSubject(namespace string, resources ...capsulev1beta2.ReplicatedResources) *capsulev1beta2.TenantResource {
	return &capsulev1beta2.TenantResource{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "r", UID: "r-uid", Generation: 1},
		Spec:       capsulev1beta2.TenantResourceSpec{ReplicationSpec: capsulev1beta2.ReplicationSpec{Resources: resources}},
	}
}

func globalSubject(resources ...capsulev1beta2.ReplicatedResources) *capsulev1beta2.GlobalTenantResource {
	return &capsulev1beta2.GlobalTenantResource{
		ObjectMeta: metav1.ObjectMeta{Name: "g", UID: "g-uid", Generation: 1},
		Spec:       capsulev1beta2.GlobalTenantResourceSpec{ReplicationSpec: capsulev1beta2.ReplicationSpec{Resources: resources}},
	}
}
