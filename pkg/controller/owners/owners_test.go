// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return scheme
}()

func newClient(given ...client.Object) client.WithWatch {
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).Build()
}

// change changes a Tenant in a test.
type change func(*capsulev1beta2.Tenant)

// tenantNamed returns a Tenant that alice owns; its UID is its name with a number.
func tenantNamed(name string, changes ...change) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-1"), Generation: 1}}
	t.Spec.Owners = []capsulev1beta2.OwnerSpec{{CoreOwnerSpec: owner("User", "alice", "admin")}}
	for _, change := range changes {
		change(t)
	}
	return t
}

func selecting(key, value string) change {
	return func(t *capsulev1beta2.Tenant) {
		t.Spec.Permissions = &capsulev1beta2.Permissions{MatchOwners: []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}}
	}
}

func unpromoting(t *capsulev1beta2.Tenant) {
	t.Spec.Permissions = &capsulev1beta2.Permissions{AllowOwnerPromotion: new(false)}
}

func owner(kind capsulev1beta2.OwnerKind, name string, roles ...string) capsulev1beta2.CoreOwnerSpec {
	return capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: kind, Name: name}, ClusterRoles: roles}
}

// tenantOwner returns a TenantOwner for a user of its name, with labels in pairs.
func tenantOwner(name string, generation int64, pairs ...string) *capsulev1beta2.TenantOwner {
	o := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: generation}}
	o.Spec.CoreOwnerSpec = owner("User", name, "view")
	for pair := range slices.Chunk(pairs, 2) {
		metav1.SetMetaDataLabel(&o.ObjectMeta, pair[0], pair[1])
	}
	return o
}

func configuration(generation int64, allow bool, administrators ...string) *capsulev1beta2.CapsuleConfiguration {
	c := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: generation}}
	c.Spec.AllowServiceAccountPromotion = allow
	for _, name := range administrators {
		c.Spec.Administrators = append(c.Spec.Administrators, capsulev1beta2.UserSpec{Kind: "User", Name: name})
	}
	return c
}

// robotIn returns a service account that was promoted for the Tenant of a namespace
// that begins with its name.
func robotIn(namespace, label string) *corev1.ServiceAccount {
	name, _, _ := strings.Cut(namespace, "-")
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "robot", Labels: map[string]string{capsulev1beta2.OwnerPromotionLabel: label},
		Annotations: map[string]string{capsulev1beta2.PromotedForAnnotation: name + "-1"},
	}}
}

// promotedFor has a service account be promoted for another Tenant, or for none.
func promotedFor(name string, account *corev1.ServiceAccount) *corev1.ServiceAccount {
	account.Annotations = nil
	if name != "" {
		account.Annotations = map[string]string{capsulev1beta2.PromotedForAnnotation: name + "-1"}
	}
	return account
}

// namespaceOf returns a namespace of a Tenant, of nobody if the name is empty.
func namespaceOf(name, tenantName string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	if tenantName != "" {
		n.Labels = map[string]string{capsulev1beta2.TenantLabel: tenantName}
		n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: tenantName, UID: types.UID(tenantName + "-1")}}
	}
	return n
}

// describe returns owners in one line each.
func describe(owners []capsulev1beta2.CoreOwnerSpec) []string {
	var lines []string
	for _, o := range owners {
		lines = append(lines, fmt.Sprint(o.Name, " ", o.ClusterRoles))
	}
	return lines
}

func TestOf(t *testing.T) {
	oil := tenantNamed("oil", selecting("team", "a"))
	c := newClient(oil, configuration(1, true, "root"), namespaceOf("oil-a", "oil"), namespaceOf("gas-a", "gas"),
		tenantOwner("bob", 1, "team", "a"), tenantOwner("carol", 1, capsulev1beta2.ManagedTenantLabel, "oil"), tenantOwner("eve", 1),
		robotIn("oil-a", "true"), robotIn("gas-a", "true"), robotIn("elsewhere", "true"))
	r := New(c, "default")
	of := func(want ...string) {
		t.Helper()
		got, err := r.Of(t.Context(), oil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, describe(got)); diff != "" {
			t.Errorf("owners (-want +got):\n%s", diff)
		}
	}
	robot := "system:serviceaccount:oil-a:robot [capsule-namespace-provisioner capsule-namespace-deleter]"
	of("alice [admin]", "bob [view]", "carol [view]", robot, "root [capsule-namespace-deleter]")

	// What is remembered is so until somebody is told that it is not.
	bob := tenantOwner("bob", 1)
	if err := c.Delete(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	of("alice [admin]", "bob [view]", "carol [view]", robot, "root [capsule-namespace-deleter]")
	told := 0
	h := r.handler(func(ctx context.Context, _ Queue, _ Change) {
		told++
		of("alice [admin]", "carol [view]", robot, "root [capsule-namespace-deleter]")
	}, r.byTenantOwner)
	h.Delete(t.Context(), event.DeleteEvent{Object: tenantOwner("bob", 1, "team", "a")}, nil)
	if told != 1 {
		t.Errorf("want to be told once, was told %d times", told)
	}

	// Another generation is asked for anew.
	oil.Generation, oil.Spec.Owners, oil.Spec.Permissions = 2, nil, &capsulev1beta2.Permissions{AllowOwnerPromotion: new(false)}
	of("carol [view]", "root [capsule-namespace-deleter]")

	r.withTenantOwners, oil.Generation = false, 3
	of("root [capsule-namespace-deleter]")
	if kinds := len(r.Cached()); kinds != 2 || r.HasTenantOwners() {
		t.Errorf("want no TenantOwners to be cached, got %d kinds", kinds)
	}
}

// TestTooManyPromoted holds that who has no place owns nothing, whoever asks.
func TestTooManyPromoted(t *testing.T) {
	oil := tenantNamed("oil")
	given := []client.Object{oil, configuration(1, true), namespaceOf("oil-a", "oil")}
	for i := range tenant.MaxPromoted + 1 {
		account := robotIn("oil-a", "true")
		account.Name = fmt.Sprintf("robot-%03d", i)
		given = append(given, account)
	}
	r := New(newClient(given...), "default")
	for name, want := range map[string]bool{"robot-000": true, "robot-099": true, "robot-100": false} {
		about, err := r.About(t.Context(), serviceaccount.UserInfo("oil-a", name, ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := tenant.IsOwner(oil, about, serviceaccount.UserInfo("oil-a", name, "")); got != want {
			t.Errorf("%s: want it to own the Tenant: %v", name, want)
		}
	}
	for what, count := range map[string]func() (int, error){
		"Of": func() (int, error) {
			owners, err := r.Of(t.Context(), oil)
			return len(owners) - len(oil.Spec.Owners), err
		},
		"Promoted": func() (int, error) { users, err := r.Promoted(t.Context()); return len(users), err },
	} {
		if got, err := count(); err != nil || got != tenant.MaxPromoted {
			t.Errorf("%s: want %d, got %d, %v", what, tenant.MaxPromoted, got, err)
		}
	}
	promotions, err := r.PromotionsOf(t.Context(), oil)
	if err != nil {
		t.Fatal(err)
	}
	_, surplus := tenant.NotPromoted(oil, promotions)
	if diff := cmp.Diff([]string{"system:serviceaccount:oil-a:robot-100"}, surplus); diff != "" {
		t.Errorf("without a place (-want +got):\n%s", diff)
	}
}

func TestAboutAndOwned(t *testing.T) {
	c := newClient(tenantNamed("oil", selecting("team", "a")), tenantNamed("gas"), tenantNamed("coal", unpromoting), configuration(1, true, "root"),
		namespaceOf("oil-a", "oil"), namespaceOf("coal-a", "coal"), namespaceOf("free", ""),
		tenantOwner("bob", 1, "team", "a"), tenantOwner("carol", 1, capsulev1beta2.ManagedTenantLabel, "gas"),
		robotIn("oil-a", "true"), robotIn("coal-a", "true"), robotIn("free", "true"), robotIn("gone", "true"))
	r := New(c, "default")
	for who, test := range map[string]struct {
		info user.Info
		kind capsulev1beta2.OwnerKind
		want []string
	}{
		"alice":                               {&user.DefaultInfo{Name: "alice"}, "User", []string{"coal", "gas", "oil"}},
		"bob":                                 {&user.DefaultInfo{Name: "bob"}, "User", []string{"oil"}},
		"carol":                               {&user.DefaultInfo{Name: "carol"}, "User", []string{"gas"}},
		"root":                                {&user.DefaultInfo{Name: "root"}, "User", []string{"coal", "gas", "oil"}},
		"eve":                                 {&user.DefaultInfo{Name: "eve"}, "User", nil},
		"system:serviceaccount:oil-a:robot":   {serviceaccount.UserInfo("oil-a", "robot", ""), "ServiceAccount", []string{"oil"}},
		"system:serviceaccount:oil-a:another": {serviceaccount.UserInfo("oil-a", "another", ""), "ServiceAccount", nil},
		"system:serviceaccount:coal-a:robot":  {serviceaccount.UserInfo("coal-a", "robot", ""), "ServiceAccount", nil},
		"system:serviceaccount:free:robot":    {serviceaccount.UserInfo("free", "robot", ""), "ServiceAccount", nil},
		"system:serviceaccount:gone:robot":    {serviceaccount.UserInfo("gone", "robot", ""), "ServiceAccount", nil},
		"with its name, as in RBAC":           {&user.DefaultInfo{Name: "system:serviceaccount:oil-a:robot"}, "ServiceAccount", []string{"oil"}},
	} {
		t.Run(who, func(t *testing.T) {
			about, err := r.About(t.Context(), test.info)
			if err != nil {
				t.Fatal(err)
			}
			tenants, err := r.tenants(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range tenants {
				if tenant.IsOwner(&tenants[i], about, test.info) {
					got = append(got, tenants[i].Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Tenants (-want +got):\n%s", diff)
			}
			owned, err := r.Owned(t.Context(), capsulev1beta2.UserSpec{Kind: test.kind, Name: test.info.GetName()})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(owned)
			if diff := cmp.Diff(test.want, owned); diff != "" {
				t.Errorf("owned (-want +got):\n%s", diff)
			}
		})
	}
	promoted, err := r.Promoted(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]capsulev1beta2.UserSpec{{Kind: "ServiceAccount", Name: "system:serviceaccount:oil-a:robot"}}, promoted); diff != "" {
		t.Errorf("promoted (-want +got):\n%s", diff)
	}
	for name, c := range map[string]client.Reader{
		"without a configuration": newClient(robotIn("oil-a", "true")),
		"where it is not allowed": newClient(configuration(1, false), tenantNamed("oil"), namespaceOf("oil-a", "oil"), robotIn("oil-a", "true")),
	} {
		if promoted, err := New(c, "default").Promoted(t.Context()); err != nil || len(promoted) > 0 {
			t.Errorf("%s: want nobody, got %v, %v", name, promoted, err)
		}
	}
}

// manager is a manager as far as it is asked for a Resolver.
type manager struct {
	ctrl.Manager

	mapper meta.RESTMapper
}

func (manager) GetClient() client.Client         { return nil }
func (m manager) GetRESTMapper() meta.RESTMapper { return m.mapper }

// unreachable is the mapper of an API server that cannot be asked.
type unreachable struct{ meta.RESTMapper }

func (unreachable) RESTMapping(schema.GroupKind, ...string) (*meta.RESTMapping, error) {
	return nil, errors.New("boom")
}

func TestForManager(t *testing.T) {
	with := meta.NewDefaultRESTMapper(nil)
	with.Add(Kind, meta.RESTScopeRoot)
	for name, test := range map[string]struct {
		mapper meta.RESTMapper
		want   bool
		failed bool
	}{
		"with TenantOwners":    {with, true, false},
		"without TenantOwners": {meta.NewDefaultRESTMapper(nil), false, false},
		"unreachable":          {unreachable{}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ForManager(t.Context(), manager{mapper: test.mapper}, "default")
			if (err != nil) != test.failed || err == nil && r.HasTenantOwners() != test.want {
				t.Errorf("want %v, failed %v; got %v", test.want, test.failed, err)
			}
		})
	}
}

// TestConfirm has a cache that was left behind.
func TestConfirm(t *testing.T) {
	bob := &user.DefaultInfo{Name: "bob"}
	cached := newClient(tenantOwner("bob", 1, "team", "a"))
	r := New(cached, "default")
	other := tenantOwner("bob", 2, "team", "a")
	other.Spec.Name = "eve"
	for name, test := range map[string]struct {
		live client.Reader
		want []string
	}{
		"as before":    {cached, []string{"a"}},
		"relabelled":   {newClient(tenantOwner("bob", 2, "team", "b")), []string{"b"}},
		"gone":         {newClient(), nil},
		"another user": {newClient(other), nil},
	} {
		t.Run(name, func(t *testing.T) {
			about, err := r.About(t.Context(), bob)
			if err != nil {
				t.Fatal(err)
			}
			confirmed, err := r.Confirm(t.Context(), test.live, about, bob)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range confirmed.TenantOwners {
				got = append(got, o.Labels["team"])
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("labels of the TenantOwners (-want +got):\n%s", diff)
			}
		})
	}
}

// TestErrors has every read fail in turn.
func TestErrors(t *testing.T) {
	oil := tenantNamed("oil")
	robot := serviceaccount.UserInfo("oil-a", "robot", "")
	for name, ask := range map[string]func(ctx context.Context, r *Resolver) error{
		"Of":    func(ctx context.Context, r *Resolver) error { _, err := r.Of(ctx, oil); return err },
		"About": func(ctx context.Context, r *Resolver) error { _, err := r.About(ctx, robot); return err },
		"Owned": func(ctx context.Context, r *Resolver) error {
			_, err := r.Owned(ctx, capsulev1beta2.UserSpec{})
			return err
		},
		"Promoted": func(ctx context.Context, r *Resolver) error { _, err := r.Promoted(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			for fail := 1; ; fail++ {
				reads := 0
				boom := func() error {
					if reads++; reads == fail {
						return errors.New("boom")
					}
					return nil
				}
				c := interceptor.NewClient(newClient(oil, configuration(1, true), namespaceOf("oil-a", "oil"), robotIn("oil-a", "true")), interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
						if err := boom(); err != nil {
							return err
						}
						return c.Get(ctx, key, object, opts...)
					},
					List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
						if err := boom(); err != nil {
							return err
						}
						return c.List(ctx, list, opts...)
					},
				})
				err := ask(t.Context(), New(c, "default"))
				if reads < fail {
					if err != nil || fail < 3 {
						t.Errorf("after %d reads: %v", reads, err)
					}
					return
				}
				if err == nil {
					t.Errorf("read %d failed and nobody said so", fail)
				}
			}
		})
	}
}

func TestLoses(t *testing.T) {
	for name, test := range map[string]struct {
		before, after []capsulev1beta2.CoreOwnerSpec
		want          bool
	}{
		"nobody":        {},
		"a gain":        {after: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view")}},
		"a loss":        {before: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view")}, want: true},
		"somebody else": {before: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob")}, after: []capsulev1beta2.CoreOwnerSpec{owner("Group", "bob")}, want: true},
		"another role":  {before: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view")}, after: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view", "edit")}},
		"a role less":   {before: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view", "edit")}, after: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "edit")}, want: true},
		"in another order": {
			before: []capsulev1beta2.CoreOwnerSpec{owner("User", "bob", "view", "edit"), owner("User", "eve")},
			after:  []capsulev1beta2.CoreOwnerSpec{owner("User", "eve"), owner("User", "bob", "edit", "view")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Change{Before: test.before, After: test.after}).Loses(); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestChangesUser(t *testing.T) {
	was := tenantOwner("bob", 1)
	for name, test := range map[string]struct {
		change func(*capsulev1beta2.TenantOwner)
		want   bool
	}{
		"its labels":       {func(o *capsulev1beta2.TenantOwner) { o.Labels = map[string]string{"a": "b"} }, false},
		"its roles":        {func(o *capsulev1beta2.TenantOwner) { o.Spec.ClusterRoles = nil }, false},
		"as by default":    {func(o *capsulev1beta2.TenantOwner) { o.Spec.Aggregate = new(true) }, false},
		"no user any more": {func(o *capsulev1beta2.TenantOwner) { o.Spec.Aggregate = new(false) }, true},
		"its name":         {func(o *capsulev1beta2.TenantOwner) { o.Spec.Name = "eve" }, true},
		"its kind":         {func(o *capsulev1beta2.TenantOwner) { o.Spec.Kind = "Group" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := was.DeepCopy()
			test.change(is)
			if got := changesUser(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

// TestWhoIsTold holds that an event reaches the Tenants whose owners it changes, and no
// others.
func TestWhoIsTold(t *testing.T) {
	const label = capsulev1beta2.ManagedTenantLabel
	cluster := func(config client.Object, more ...client.Object) client.Reader {
		all := append([]client.Object{
			tenantNamed("oil", selecting("team", "a")), tenantNamed("gas"), tenantNamed("coal", unpromoting),
			namespaceOf("oil-a", "oil"), namespaceOf("gas-a", "gas"), namespaceOf("coal-a", "coal"), namespaceOf("free", ""),
		}, more...)
		if config != nil {
			all = append(all, config)
		}
		return newClient(all...)
	}
	allowed := configuration(1, true)
	robots := []client.Object{robotIn("oil-a", "true"), robotIn("coal-a", "true"), robotIn("free", "true")}
	renamed := tenantOwner("bob", 2, label, "gas")
	renamed.Spec.Name = "eve"
	silent := tenantOwner("bob", 2, label, "gas")
	silent.Spec.Aggregate = new(false)
	other := configuration(1, true, "root")
	other.Name = "other"
	robot := "system:serviceaccount:%s:robot [capsule-namespace-provisioner capsule-namespace-deleter]"
	oilRobot, gasRobot := fmt.Sprintf(robot, "oil-a"), fmt.Sprintf(robot, "gas-a")
	type told struct{ Before, After []string }
	for name, test := range map[string]struct {
		cluster client.Reader
		by      func(*Resolver) changes
		was, is client.Object
		want    map[string]told
	}{
		"a TenantOwner for one": {
			by: func(r *Resolver) changes { return r.byTenantOwner }, is: tenantOwner("bob", 1, label, "gas"),
			want: map[string]told{"gas": {nil, []string{"bob [view]"}}},
		},
		"a TenantOwner for none":   {by: func(r *Resolver) changes { return r.byTenantOwner }, is: tenantOwner("bob", 1, label, "none")},
		"a TenantOwner says other": {by: func(r *Resolver) changes { return r.byTenantOwner }, was: tenantOwner("bob", 1, label, "gas"), is: silent},
		"a TenantOwner moves": {
			by: func(r *Resolver) changes { return r.byTenantOwner }, was: tenantOwner("bob", 1, label, "gas"), is: tenantOwner("bob", 1, "team", "a"),
			want: map[string]told{"gas": {[]string{"bob [view]"}, nil}, "oil": {nil, []string{"bob [view]"}}},
		},
		"a TenantOwner is somebody else": {
			by: func(r *Resolver) changes { return r.byTenantOwner }, was: tenantOwner("bob", 1, label, "gas"), is: renamed,
			want: map[string]told{"gas": {[]string{"bob [view]"}, []string{"eve [view]"}}},
		},
		"a TenantOwner goes": {
			by: func(r *Resolver) changes { return r.byTenantOwner }, was: tenantOwner("bob", 1, "team", "a"),
			want: map[string]told{"oil": {[]string{"bob [view]"}, nil}},
		},
		"administrators": {
			by: func(r *Resolver) changes { return r.byConfiguration }, was: configuration(1, false), is: configuration(2, false, "root"),
			want: map[string]told{
				"coal": {nil, []string{"root [capsule-namespace-deleter]"}}, "gas": {nil, []string{"root [capsule-namespace-deleter]"}},
				"oil": {nil, []string{"root [capsule-namespace-deleter]"}},
			},
		},
		"another configuration": {by: func(r *Resolver) changes { return r.byConfiguration }, is: other},
		"promotion is allowed": {
			cluster: cluster(allowed, robots...),
			by:      func(r *Resolver) changes { return r.byConfiguration }, was: configuration(1, false), is: configuration(2, true),
			want: map[string]told{"oil": {nil, []string{oilRobot}}},
		},
		"the configuration is gone": {
			cluster: cluster(nil, robots...),
			by:      func(r *Resolver) changes { return r.byConfiguration }, was: allowed,
			want: map[string]told{"oil": {[]string{oilRobot}, nil}},
		},
		"a service account": {
			cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, is: robotIn("oil-a", "true"),
			want: map[string]told{"oil": {nil, []string{oilRobot}}},
		},
		"a service account loses its label": {
			cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, was: robotIn("oil-a", "true"), is: robotIn("oil-a", "no"),
			want: map[string]told{"oil": {[]string{oilRobot}, nil}},
		},
		"a service account where it is not allowed":            {by: func(r *Resolver) changes { return r.byAccount }, is: robotIn("oil-a", "true")},
		"a service account where the Tenant does not allow it": {cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, is: robotIn("coal-a", "true")},
		"a service account of nobody":                          {cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, is: robotIn("free", "true")},
		"a service account of no namespace":                    {cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, is: robotIn("gone", "true")},
		"a service account is promoted for another Tenant": {
			cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byAccount }, was: robotIn("oil-a", "true"), is: promotedFor("gas", robotIn("oil-a", "true")),
			want: map[string]told{"oil": {[]string{oilRobot}, nil}},
		},
		"a namespace changes hands": {
			cluster: cluster(allowed, robotIn("gas-a", "true")),
			by:      func(r *Resolver) changes { return r.byNamespace }, was: namespaceOf("gas-a", "oil"), is: namespaceOf("gas-a", "gas"),
			want: map[string]told{"gas": {nil, []string{gasRobot}}},
		},
		"a namespace is taken from those who promoted": {
			cluster: cluster(allowed, promotedFor("oil", robotIn("gas-a", "true"))),
			by:      func(r *Resolver) changes { return r.byNamespace }, was: namespaceOf("gas-a", "oil"), is: namespaceOf("gas-a", "gas"),
			want: map[string]told{"oil": {[]string{gasRobot}, nil}},
		},
		"a namespace is adopted": {
			cluster: cluster(allowed, promotedFor("", robotIn("gas-a", "true"))),
			by:      func(r *Resolver) changes { return r.byNamespace }, was: namespaceOf("gas-a", ""), is: namespaceOf("gas-a", "gas"),
		},
		"a namespace with nobody in it": {
			cluster: cluster(allowed), by: func(r *Resolver) changes { return r.byNamespace }, was: namespaceOf("gas-a", "oil"), is: namespaceOf("gas-a", "gas"),
		},
		"a namespace goes": {
			cluster: cluster(allowed, robots...), by: func(r *Resolver) changes { return r.byNamespace }, was: namespaceOf("oil-a", "oil"),
			want: map[string]told{"oil": {[]string{oilRobot}, nil}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cluster == nil {
				test.cluster = cluster(configuration(1, false))
			}
			r := New(test.cluster, "default")
			got := map[string]told{}
			h := r.handler(func(_ context.Context, _ Queue, c Change) {
				got[c.Tenant.Name] = told{describe(c.Before), describe(c.After)}
			}, test.by(r))
			switch {
			case test.was == nil:
				h.Create(t.Context(), event.CreateEvent{Object: test.is}, nil)
			case test.is == nil:
				h.Delete(t.Context(), event.DeleteEvent{Object: test.was}, nil)
			default:
				h.Update(t.Context(), event.UpdateEvent{ObjectOld: test.was, ObjectNew: test.is}, nil)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatIsNoChange holds that nobody is told of what is there at the start, nor of
// what says nothing about owners.
func TestWhatIsNoChange(t *testing.T) {
	r := New(newClient(tenantNamed("oil")), "default")
	h := r.handler(func(context.Context, Queue, Change) { t.Error("told") }, r.byTenantOwner)
	was := tenantOwner("bob", 1, capsulev1beta2.ManagedTenantLabel, "oil")
	h.Create(t.Context(), event.CreateEvent{Object: was, IsInInitialList: true}, nil)
	is := was.DeepCopy()
	is.Status.Tenants, is.ResourceVersion = []string{"oil"}, "2"
	is.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "a", Time: new(metav1.NewTime(time.Unix(1, 0)))}}
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, nil)
}
