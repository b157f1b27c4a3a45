// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package provisioner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return scheme
}()

var (
	devs  = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "devs"}
	robot = rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "robot"}
	alice = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice"}
)

func tenantOwner(name string, aggregate *bool) *capsulev1beta2.TenantOwner {
	return &capsulev1beta2.TenantOwner{Spec: capsulev1beta2.TenantOwnerSpec{
		CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}}, Aggregate: aggregate,
	}}
}

// TestPromotions holds that a Tenant is of interest when it allows promotion, or does
// not allow it any more.
func TestPromotions(t *testing.T) {
	with := func(allow *bool) *capsulev1beta2.Tenant {
		return &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{UID: "oil-1"}, Spec: capsulev1beta2.TenantSpec{
			Permissions: &capsulev1beta2.Permissions{AllowOwnerPromotion: allow},
		}}
	}
	for name, test := range map[string]struct {
		was, is *capsulev1beta2.Tenant
		want    bool
	}{
		"allowed as before": {with(nil), with(new(true)), false},
		"forbidden":         {with(nil), with(new(false)), true},
		"allowed":           {with(new(false)), with(new(true)), true},
		"another life":      {with(nil), &capsulev1beta2.Tenant{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := promotions.Update(event.UpdateEvent{ObjectOld: test.was, ObjectNew: test.is}); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

func TestCompute(t *testing.T) {
	const user, group, account = capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner, capsulev1beta2.ServiceAccountOwner
	for name, test := range map[string]struct {
		given     capsulev1beta2.CapsuleConfigurationSpec
		others    Others
		wantRoles map[string][]string
		wantName  string
		want      []rbacv1.Subject
		// wantErrs are the fields.
		wantErrs []string
	}{
		"nobody": {
			wantRoles: map[string][]string{"capsule-namespace-deleter": {"delete"}, "capsule-namespace-provisioner": {"create", "patch"}},
			wantName:  "capsule-namespace-provisioner",
		},
		"users and administrators": {
			given: capsulev1beta2.CapsuleConfigurationSpec{
				Users:          []capsulev1beta2.UserSpec{{Kind: user, Name: "alice"}, {Kind: group, Name: "devs"}},
				UserNames:      []string{"alice", "system:serviceaccount:ci:robot"},
				UserGroups:     []string{"devs"},
				Administrators: []capsulev1beta2.UserSpec{{Kind: user, Name: "alice"}, {Kind: account, Name: "system:serviceaccount:ci:robot"}},
			},
			wantRoles: map[string][]string{"capsule-namespace-deleter": {"delete"}, "capsule-namespace-provisioner": {"create", "patch"}},
			wantName:  "capsule-namespace-provisioner",
			want:      []rbacv1.Subject{devs, robot, alice},
		},
		"TenantOwners and promoted service accounts": {
			given: capsulev1beta2.CapsuleConfigurationSpec{Users: []capsulev1beta2.UserSpec{{Kind: group, Name: "devs"}}},
			others: Others{
				TenantOwners: []*capsulev1beta2.TenantOwner{tenantOwner("alice", nil), tenantOwner("alice", new(false)), tenantOwner("eve", new(false))},
				Promoted:     []capsulev1beta2.UserSpec{{Kind: account, Name: "system:serviceaccount:ci:robot"}},
			},
			wantRoles: map[string][]string{"capsule-namespace-deleter": {"delete"}, "capsule-namespace-provisioner": {"create", "patch"}},
			wantName:  "capsule-namespace-provisioner",
			want:      []rbacv1.Subject{devs, robot, alice},
		},
		"other names": {
			given:     capsulev1beta2.CapsuleConfigurationSpec{RBAC: &capsulev1beta2.RBACConfiguration{Provisioner: "maker", Deleter: "a-breaker"}},
			wantRoles: map[string][]string{"a-breaker": {"delete"}, "maker": {"create", "patch"}},
			wantName:  "maker",
		},
		"one name": {
			given:     capsulev1beta2.CapsuleConfigurationSpec{RBAC: &capsulev1beta2.RBACConfiguration{Provisioner: "maker", Deleter: "maker"}},
			wantRoles: map[string][]string{"maker": {"create", "delete", "patch"}},
			wantName:  "maker",
		},
		"who cannot be understood is not bound": {
			given: capsulev1beta2.CapsuleConfigurationSpec{
				Users:          []capsulev1beta2.UserSpec{{Kind: account, Name: "robot"}, {Kind: user, Name: "alice"}},
				Administrators: []capsulev1beta2.UserSpec{{Kind: "Robot", Name: "r2"}},
			},
			wantRoles: map[string][]string{"capsule-namespace-deleter": {"delete"}, "capsule-namespace-provisioner": {"create", "patch"}},
			wantName:  "capsule-namespace-provisioner",
			want:      []rbacv1.Subject{alice},
			wantErrs:  []string{"spec.users", "spec.administrators"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := Compute(&test.given, test.others)
			roles := map[string][]string{}
			for _, role := range got.Roles {
				roles[role.Name] = role.Rules[0].Verbs
				if diff := cmp.Diff(rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: role.Rules[0].Verbs}, role.Rules[0]); diff != "" || len(role.Rules) != 1 {
					t.Errorf("rules (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(test.wantRoles, roles); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got.Binding.Subjects); diff != "" {
				t.Errorf("subjects (-want +got):\n%s", diff)
			}
			wantRef := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: test.wantName}
			if got.Binding.Name != test.wantName || got.Binding.RoleRef != wantRef {
				t.Errorf("want binding %s, got %s to %v", test.wantName, got.Binding.Name, got.Binding.RoleRef)
			}
			var fields []string
			for _, err := range errs {
				fields = append(fields, err.Field)
			}
			if diff := cmp.Diff(test.wantErrs, fields); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func configured(change func(*capsulev1beta2.CapsuleConfigurationSpec)) *capsulev1beta2.CapsuleConfiguration {
	c := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "c"}}
	c.Spec.UserGroups = []string{"devs"}
	if change != nil {
		change(&c.Spec)
	}
	return c
}

func clusterRole(name string, labels map[string]string, verbs ...string) *rbacv1.ClusterRole {
	r := role(name, verbs...)
	r.Labels = labels
	return &r
}

func clusterRoleBinding(name, roleName string, labels map[string]string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: roleName},
		Subjects:   subjects,
	}
}

func TestReconcile(t *testing.T) {
	const provisioner, deleter = "capsule-namespace-provisioner", "capsule-namespace-deleter"
	right := map[string]string{
		"role " + deleter:        "delete",
		"role " + provisioner:    "create,patch",
		"binding " + provisioner: provisioner + ": devs",
	}
	and := func(more map[string]string) map[string]string {
		all := maps.Clone(right)
		maps.Copy(all, more)
		return all
	}
	all := func() []client.Object {
		return []client.Object{
			clusterRole(provisioner, ours, "create", "patch"), clusterRole(deleter, ours, "delete"),
			clusterRoleBinding(provisioner, provisioner, ours, devs),
		}
	}
	for name, test := range map[string]struct {
		given      []client.Object
		want       map[string]string
		wantWrites []string
		wantErr    string
	}{
		"no configuration": {given: all(), want: right},
		"nothing is there": {
			given:      []client.Object{configured(nil)},
			want:       right,
			wantWrites: []string{"apply " + deleter, "apply " + provisioner, "apply " + provisioner},
		},
		"all is right": {given: append(all(), configured(nil)), want: right},
		"the binding is missing": {
			given:      append(all()[:2], configured(nil)),
			want:       right,
			wantWrites: []string{"apply " + provisioner},
		},
		"drift": {
			given: []client.Object{
				configured(nil), clusterRole(provisioner, ours, "*"), clusterRole(deleter, ours, "delete"),
				clusterRoleBinding(provisioner, provisioner, ours, alice),
			},
			want:       right,
			wantWrites: []string{"apply " + provisioner, "apply " + provisioner},
		},
		"labels of others": {
			given: []client.Object{
				configured(nil), clusterRole(provisioner, map[string]string{"a": "b", "projectcapsule.dev/created-by": "rbac-controller"}, "create", "patch"),
				clusterRole(deleter, ours, "delete"), clusterRoleBinding(provisioner, provisioner, ours, devs),
			},
			want: right,
		},
		"the binding is to another role": {
			given: []client.Object{
				configured(nil), clusterRole(provisioner, ours, "create", "patch"), clusterRole(deleter, ours, "delete"),
				clusterRoleBinding(provisioner, "cluster-admin", ours, devs),
			},
			want:       right,
			wantWrites: []string{"delete " + provisioner, "apply " + provisioner},
		},
		"renamed": {
			given: append(all(), configured(func(spec *capsulev1beta2.CapsuleConfigurationSpec) {
				spec.RBAC = &capsulev1beta2.RBACConfiguration{Provisioner: "maker"}
			})),
			want: map[string]string{"role maker": "create,patch", "role " + deleter: "delete", "binding maker": "maker: devs"},
			wantWrites: []string{
				"apply maker", "apply maker", "delete ClusterRoleBinding " + provisioner, "delete ClusterRole " + provisioner,
			},
		},
		"others' stay": {
			given: append(all(), configured(nil), clusterRole("view", nil, "get"), clusterRoleBinding("view", "view", nil, devs)),
			want:  and(map[string]string{"role view": "get", "binding view": "view: devs"}),
		},
		"others' are adopted if they are right": {
			given: []client.Object{
				configured(nil), clusterRole(provisioner, nil, "create", "patch"), clusterRole(deleter, nil, "delete"),
				clusterRoleBinding(provisioner, provisioner, nil, devs),
			},
			want:       right,
			wantWrites: []string{"apply " + deleter, "apply " + provisioner, "apply " + provisioner},
		},
		"others' are in the way": {
			given: []client.Object{
				configured(nil), clusterRole(provisioner, nil, "*"), clusterRole("old", ours, "create"), clusterRoleBinding("old", "old", ours, devs),
			},
			want:       map[string]string{"role " + provisioner: "*", "role " + deleter: "delete"},
			wantWrites: []string{"apply " + deleter, "apply " + provisioner, "delete ClusterRoleBinding old", "delete ClusterRole old"},
			wantErr:    "ClusterRole " + provisioner + " exists and is not the controller's: choose another name in spec.rbac, or label it projectcapsule.dev/created-by=rbac-controller to hand it over",
		},
		"who cannot be understood": {
			given: append(all(), configured(func(spec *capsulev1beta2.CapsuleConfigurationSpec) {
				spec.Users = []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.ServiceAccountOwner, Name: "robot"}}
			})),
			want: right,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var writes []string
			c := newClient(&writes, test.given...)
			r := &reconciler{objects.Applier{Client: c, Live: c}, owners.New(c, "default"), report.New()}
			_, err := r.Reconcile(t.Context(), request())
			if got := fmt.Sprint(err); test.wantErr == "" && err != nil || test.wantErr != "" && got != test.wantErr {
				t.Errorf("want error %q, got %q", test.wantErr, got)
			}
			if diff := cmp.Diff(test.want, state(t.Context(), t, c)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			// A deletion says of which kind where that matters.
			for i, write := range writes {
				if i < len(test.wantWrites) && !strings.Contains(test.wantWrites[i], "Cluster") {
					writes[i] = strings.NewReplacer("ClusterRoleBinding ", "", "ClusterRole ", "").Replace(write)
				}
			}
			if diff := cmp.Diff(test.wantWrites, writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			reports := r.reports.Of(tenant.Ref{Name: "default", UID: "c"})
			if wantReport := test.wantErr != "" || name == "who cannot be understood"; (len(reports) == 1) != wantReport {
				t.Errorf("want a report: %v, got %v", wantReport, reports)
			}
			if test.wantErr != "" {
				return
			}
			writes = nil
			if _, err := r.Reconcile(t.Context(), request()); err != nil || len(writes) > 0 {
				t.Errorf("the second time: %v, %q", err, writes)
			}
		})
	}
}

// TestRemovalInSpiteOfFailure holds the reconciler to unbind who is not configured
// any more, whatever else fails.
func TestRemovalInSpiteOfFailure(t *testing.T) {
	var writes []string
	c := interceptor.NewClient(newClient(&writes, configured(nil), clusterRole("old", ours, "create"), clusterRoleBinding("old", "old", ours, alice)),
		interceptor.Funcs{
			Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
				return errors.New("boom")
			},
		})
	r := &reconciler{objects.Applier{Client: c, Live: c}, owners.New(c, "default"), report.New()}
	if _, err := r.Reconcile(t.Context(), request()); err == nil {
		t.Error("want an error")
	}
	if got := state(t.Context(), t, c); len(got) > 0 {
		t.Errorf("want nothing to be left, got %v", got)
	}
}

func TestConcerning(t *testing.T) {
	c := newClient(new([]string), configured(nil))
	r := &reconciler{objects.Applier{Client: c, Live: c}, owners.New(c, "default"), report.New()}
	p := r.concerning("default")
	mine, needed, theirs := clusterRole("old", ours), clusterRole("capsule-namespace-deleter", nil), clusterRole("view", nil)
	for name, test := range map[string]struct {
		got, want bool
	}{
		"ours":                {p.Create(event.CreateEvent{Object: mine}), true},
		"a name that we need": {p.Delete(event.DeleteEvent{Object: needed}), true},
		"no concern of ours":  {p.Create(event.CreateEvent{Object: theirs}), false},
		"a label is gone":     {p.Update(event.UpdateEvent{ObjectOld: mine, ObjectNew: clusterRole("old", nil)}), true},
		"theirs are changed":  {p.Update(event.UpdateEvent{ObjectOld: theirs, ObjectNew: theirs}), false},
	} {
		if test.got != test.want {
			t.Errorf("%s: want %v", name, test.want)
		}
	}
}

func newClient(writes *[]string, given ...client.Object) client.WithWatch {
	return fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(given...).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				named, ok := wanted.(interface{ GetName() *string })
				if !ok {
					return fmt.Errorf("%T has no name", wanted)
				}
				*writes = append(*writes, "apply "+*named.GetName())
				return underlying.Apply(ctx, wanted, options...)
			},
			Delete: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.DeleteOption) error {
				kind := strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1.")
				*writes = append(*writes, "delete "+kind+" "+object.GetName())
				return underlying.Delete(ctx, object, options...)
			},
		}).Build()
}

// state says what is there, in short.
func state(ctx context.Context, tb testing.TB, c client.Client) map[string]string {
	tb.Helper()
	got := map[string]string{}
	var roles rbacv1.ClusterRoleList
	var bindings rbacv1.ClusterRoleBindingList
	if err := errors.Join(c.List(ctx, &roles), c.List(ctx, &bindings)); err != nil {
		tb.Fatal(err)
	}
	for _, role := range roles.Items {
		got["role "+role.Name] = strings.Join(role.Rules[0].Verbs, ",")
	}
	for _, binding := range bindings.Items {
		var names []string
		for _, subject := range binding.Subjects {
			names = append(names, subject.Name)
		}
		slices.Sort(names)
		got["binding "+binding.Name] = binding.RoleRef.Name + ": " + strings.Join(names, ",")
	}
	return got
}

func request() reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: "default"}}
}
