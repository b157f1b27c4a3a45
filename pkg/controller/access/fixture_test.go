// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// scheme holds no more than is needed: the fake client walks through it on each write.
var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, rbacv1.AddToScheme, storagev1.AddToScheme, networkingv1.AddToScheme, schedulingv1.AddToScheme,
		nodev1.AddToScheme, capsulev1beta1.AddToScheme, capsulev1beta2.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}()

// converters take long to make.
var converters = []managedfields.TypeConverter{applyconfigurations.NewTypeConverter(scheme), managedfields.NewDeducedTypeConverter()}

// fakeCluster is a cluster as a client with the caches' indexes sees it.
type fakeCluster struct {
	client.Client
	tb testing.TB
	// writes says what was written since it was last asked, in order.
	writes []string
	// applied is what was applied last.
	applied string
	// refuse, if set, decides about writes.
	refuse func(write string) error
}

// indexer gives the fake client the indexes of the caches.
type indexer struct{ *fake.ClientBuilder }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, of client.IndexerFunc) error {
	i.WithIndex(object, field, of)
	return nil
}

func newCluster(tb testing.TB, given ...client.Object) *fakeCluster {
	tb.Helper()
	c := &fakeCluster{tb: tb}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithTypeConverters(converters...).WithObjects(given...).
		WithStatusSubresource(&capsulev1beta1.ProxySetting{}, &capsulev1beta1.GlobalProxySettings{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				named, ok := wanted.(interface {
					GetKind() *string
					GetNamespace() *string
					GetName() *string
				})
				if !ok {
					return fmt.Errorf("apply configuration %T has no name", wanted)
				}
				if err := c.wrote("apply", *named.GetKind(), named.GetNamespace(), *named.GetName()); err != nil {
					return err
				}
				data, err := json.Marshal(wanted)
				if err != nil {
					return err
				}
				c.applied = string(data)
				return underlying.Apply(ctx, wanted, options...)
			},
			Create: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.CreateOption) error {
				gvk, err := apiutil.GVKForObject(object, scheme)
				if err != nil {
					return err
				}
				// The rest is what the test itself makes.
				if gvk.Group != rbacv1.GroupName {
					return underlying.Create(ctx, object, options...)
				}
				if err := c.wrote("create", gvk.Kind, new(object.GetNamespace()), object.GetName()); err != nil {
					return err
				}
				return underlying.Create(ctx, object, options...)
			},
			Delete: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.DeleteOption) error {
				gvk, err := apiutil.GVKForObject(object, scheme)
				if err != nil {
					return err
				}
				if err := c.wrote("delete", gvk.Kind, new(object.GetNamespace()), object.GetName()); err != nil {
					return err
				}
				if gvk.Group != rbacv1.GroupName {
					return underlying.Delete(ctx, object, options...)
				}
				return deleteExactly(ctx, underlying, object, options)
			},
			SubResourcePatch: func(ctx context.Context, underlying client.Client, subresource string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
				gvk, err := apiutil.GVKForObject(object, scheme)
				if err != nil {
					return err
				}
				if err := c.wrote("patch "+subresource+" of", gvk.Kind, new(object.GetNamespace()), object.GetName()); err != nil {
					return err
				}
				return underlying.SubResource(subresource).Patch(ctx, object, patch, options...)
			},
		})
	must(tb, objects.Index(tb.Context(), indexer{builder}))
	must(tb, indexCompiled(tb.Context(), indexer{builder}))
	c.Client = builder.Build()
	return c
}

// deleteExactly respects the UID precondition, which the fake client does not.
func deleteExactly(ctx context.Context, underlying client.WithWatch, object client.Object, options []client.DeleteOption) error {
	var all client.DeleteOptions
	all.ApplyOptions(options)
	if all.Preconditions == nil || all.Preconditions.UID == nil {
		return fmt.Errorf("deletion of %s without a UID", object.GetName())
	}
	present, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy of %T is no object", object)
	}
	if err := underlying.Get(ctx, client.ObjectKeyFromObject(object), present); err != nil {
		return err
	}
	if present.GetUID() != *all.Preconditions.UID {
		return apierrors.NewConflict(rbacv1.Resource("objects"), object.GetName(), fmt.Errorf("the UID is %s", present.GetUID()))
	}
	return underlying.Delete(ctx, object, options...)
}

func (c *fakeCluster) wrote(verb, kind string, namespace *string, name string) error {
	if namespace != nil && *namespace != "" {
		name = *namespace + "/" + name
	}
	write := verb + " " + kind + " " + name
	if c.refuse != nil {
		if err := c.refuse(write); err != nil {
			return err
		}
	}
	c.writes = append(c.writes, write)
	return nil
}

// written returns what was written since the last call.
func (c *fakeCluster) written() []string {
	writes := c.writes
	c.writes = nil
	return writes
}

// compiled returns the roles and bindings that there are, whosever.
func (c *fakeCluster) compiled(tb testing.TB) map[string][]string {
	tb.Helper()
	var clusterRoles rbacv1.ClusterRoleList
	var clusterBindings rbacv1.ClusterRoleBindingList
	var roles rbacv1.RoleList
	var bindings rbacv1.RoleBindingList
	for _, list := range []client.ObjectList{&clusterRoles, &clusterBindings, &roles, &bindings} {
		must(tb, c.List(tb.Context(), list))
	}
	all := map[string][]string{}
	for i := range clusterRoles.Items {
		all["ClusterRole "+clusterRoles.Items[i].Name] = describeRules(clusterRoles.Items[i].Rules)
	}
	for i := range roles.Items {
		all["Role "+roles.Items[i].Namespace+"/"+roles.Items[i].Name] = describeRules(roles.Items[i].Rules)
	}
	for i := range clusterBindings.Items {
		b := &clusterBindings.Items[i]
		all["ClusterRoleBinding "+b.Name] = describeBinding(b.RoleRef, b.Subjects)
	}
	for i := range bindings.Items {
		b := &bindings.Items[i]
		all["RoleBinding "+b.Namespace+"/"+b.Name] = describeBinding(b.RoleRef, b.Subjects)
	}
	return all
}

// describeUnits returns the roles and bindings that units become.
func describeUnits(units map[place]unit) map[string][]string {
	all := map[string][]string{}
	for at, u := range units {
		prefix, suffix := "Cluster", at.name
		if at.namespace != "" {
			prefix, suffix = "", at.namespace+"/"+at.name
		}
		all[prefix+"Role "+suffix] = describeRules(u.grants.rules())
		all[prefix+"RoleBinding "+suffix] = describeBinding(at.roleRef(), u.subjects.UnsortedList())
	}
	return all
}

// describeRules returns a line for each rule. A rule without names, which is for
// everything, says so.
func describeRules(rules []rbacv1.PolicyRule) []string {
	lines := make([]string, 0, len(rules))
	for _, rule := range rules {
		resource := strings.Join(rule.Resources, ",")
		if groups := strings.Join(rule.APIGroups, ","); groups != "" {
			resource += "." + groups
		}
		which := "EVERYTHING"
		if len(rule.ResourceNames) > 0 {
			which = strings.Join(rule.ResourceNames, ",")
		}
		lines = append(lines, strings.Join(rule.Verbs, ",")+" "+resource+": "+which)
	}
	return lines
}

func describeBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject) []string {
	lines := make([]string, 0, len(subjects))
	for _, s := range subjects {
		name := s.Name
		if s.Namespace != "" {
			name = s.Namespace + ":" + s.Name
		}
		if (s.Kind == rbacv1.ServiceAccountKind) == (s.APIGroup == rbacv1.GroupName) {
			name += " of the API group " + s.APIGroup
		}
		lines = append(lines, s.Kind+" "+name)
	}
	slices.Sort(lines)
	return append([]string{"to " + ref.Kind + " " + ref.Name}, lines...)
}

// tenantSpec returns the Tenant oil with a spec.
func tenantSpec(tb testing.TB, spec string) *capsulev1beta2.Tenant {
	tb.Helper()
	oil := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1", Generation: 1}}
	must(tb, yaml.UnmarshalStrict([]byte(spec), &oil.Spec))
	return oil
}

// ownersIn returns the owners in the spec of a Tenant.
func ownersIn(t *capsulev1beta2.Tenant) []capsulev1beta2.CoreOwnerSpec {
	return tenant.Owners(t, tenant.Sources{})
}

// ownerOfOil returns a TenantOwner of oil, for a user of its name.
func ownerOfOil(name string) *capsulev1beta2.TenantOwner {
	o := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{capsulev1beta2.ManagedTenantLabel: "oil"}}}
	o.Spec.UserSpec = capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}
	return o
}

// proxySubjects returns the subjects of a ProxySetting.
func proxySubjects(tb testing.TB, subjects string) []capsulev1beta2.ProxySubject {
	tb.Helper()
	var list []capsulev1beta2.ProxySubject
	must(tb, yaml.UnmarshalStrict([]byte(subjects), &list))
	return list
}

// objectsByKind reads objects that are given as resource, name and labels.
func objectsByKind(tb testing.TB, given string) map[*kind][]metav1.ObjectMeta {
	tb.Helper()
	var labels map[string]map[string]map[string]string
	must(tb, yaml.UnmarshalStrict([]byte(given), &labels))
	all := map[*kind][]metav1.ObjectMeta{}
	for resource, byName := range labels {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.resource == resource })
		if i < 0 {
			tb.Fatalf("there is no kind of %s", resource)
		}
		for name, l := range byName {
			all[&kinds[i]] = append(all[&kinds[i]], metav1.ObjectMeta{Name: name, Labels: l})
		}
	}
	return all
}

// owned returns the metadata of a namespace of a Tenant.
func owned(name string, t *capsulev1beta2.Tenant) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(name), Labels: map[string]string{capsulev1beta2.TenantLabel: t.Name},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: "Tenant", Name: t.Name, UID: t.UID,
		}},
	}}
}

// recorder is a queue that remembers what it was told. Its other methods must not
// be called.
type recorder struct {
	priorityqueue.PriorityQueue[reconcile.Request]

	lock sync.Mutex
	// adds is how each request was added; lock protects it.
	adds []string
}

func (r *recorder) add(q reconcile.Request, how string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.adds = append(r.adds, strings.TrimPrefix(q.String(), "/")+how)
}

func (r *recorder) Add(q reconcile.Request) { r.add(q, "") }

func (r *recorder) AddAfter(q reconcile.Request, after time.Duration) {
	r.add(q, " after "+after.String())
}

func (r *recorder) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, q := range requests {
		how := ""
		if o.Priority != nil {
			how = fmt.Sprintf(" with priority %d", *o.Priority)
		}
		if o.After > 0 {
			how += " after " + o.After.String()
		}
		r.add(q, how)
	}
}

// added returns what was added since the last call, in order of name.
func (r *recorder) added() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	adds := r.adds
	r.adds = nil
	slices.Sort(adds)
	return adds
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// everybody returns the subjects of units.
func everybody(units map[place]unit) sets.Set[rbacv1.Subject] {
	all := sets.New[rbacv1.Subject]()
	for _, u := range units {
		all = all.Union(u.subjects)
	}
	return all
}

// mixed returns maps as one.
func mixed[K comparable, V any](all ...map[K]V) map[K]V {
	one := map[K]V{}
	for _, m := range all {
		maps.Copy(one, m)
	}
	return one
}
