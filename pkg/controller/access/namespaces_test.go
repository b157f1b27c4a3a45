// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/owners"
)

const prod = "oil-prod"

// reconcileNamespace reconciles the namespace oil-prod.
func (c *fakeCluster) reconcileNamespace(tb testing.TB) (ctrl.Result, error) {
	tb.Helper()
	r := &namespaceReconciler{tenants: tenantFinder{c}, owners: owners.New(c, "default"), reader: c, bindings: c, writer: c}
	return r.Reconcile(tb.Context(), requestFor(prod))
}

// readers returns the RoleBinding for owners.
func readers(subjects ...string) map[string][]string {
	return map[string][]string{"RoleBinding oil-prod/capsule:tenant:oil": append([]string{"to ClusterRole tenancy:namespace-reader"}, subjects...)}
}

// reader returns a RoleBinding for the owners of a Tenant.
func reader(t *capsulev1beta2.Tenant, users ...string) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: prod, Name: "capsule:tenant:" + t.Name, UID: "reader-of-" + t.UID,
			Labels:          map[string]string{Label: "namespace", capsulev1beta2.TenantLabel: t.Name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: t.Name, UID: t.UID, Controller: new(true)}},
		},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenancy:namespace-reader"},
	}
	for _, name := range users {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name})
	}
	return b
}

func TestOwnersGetTheirNamespaces(t *testing.T) {
	oil, gas := goldOwners(t, "alice"), tenantNamed("gas")
	earlier := goldOwners(t, "alice")
	earlier.UID = "oil-0"
	many := tenantSpec(t, `{owners: [{kind: User, name: bob, clusterRoles: []}, {kind: Group, name: devs}, {kind: User, name: bob},
		{kind: ServiceAccount, name: "system:serviceaccount:ci:robot"}, {kind: ServiceAccount, name: robot}, {kind: User, name: alice}]}`)
	nobody := tenantSpec(t, `{owners: [{kind: ServiceAccount, name: robot}]}`)
	terminating := owned(prod, oil)
	terminating.DeletionTimestamp, terminating.Finalizers = new(metav1.Now()), []string{"kubernetes"}
	unlabelled := owned(prod, oil)
	unlabelled.Labels = nil
	wrongRole := reader(oil, "alice")
	wrongRole.RoleRef.Name = "admin"
	wrongName := reader(oil, "alice")
	wrongName.Name = "capsule:tenant:copy"
	noLabel := reader(oil, "alice")
	delete(noLabel.Labels, capsulev1beta2.TenantLabel)
	others := reader(gas, "eve")
	others.Labels, others.OwnerReferences = nil, nil
	const (
		create = "create RoleBinding oil-prod/capsule:tenant:oil"
		apply  = "apply RoleBinding oil-prod/capsule:tenant:oil"
	)
	for name, test := range map[string]struct {
		given  []client.Object
		want   map[string][]string
		writes []string
	}{
		"a new namespace": {
			given: []client.Object{oil, owned(prod, oil)}, want: readers("User alice"), writes: []string{create},
		},
		"all owners, each once, whatever clusterRoles they have": {
			given: []client.Object{many, owned(prod, many)}, writes: []string{create},
			want: readers("Group devs", "ServiceAccount ci:robot", "User alice", "User bob"),
		},
		"owners by a TenantOwner and by the configuration": {
			given: []client.Object{oil, owned(prod, oil), ownerOfOil("bob"), &capsulev1beta2.CapsuleConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "default"},
				Spec:       capsulev1beta2.CapsuleConfigurationSpec{Administrators: []capsulev1beta2.UserSpec{{Kind: "Group", Name: "ops"}}},
			}},
			want: readers("Group ops", "User alice", "User bob"), writes: []string{create},
		},
		"what is right stays": {
			given: []client.Object{oil, owned(prod, oil), reader(oil, "alice")}, want: readers("User alice"),
		},
		"an owner more": {
			given: []client.Object{goldOwners(t, "alice", "bob"), owned(prod, oil), reader(oil, "alice")}, want: readers("User alice", "User bob"), writes: []string{apply},
		},
		"an owner less": {
			given: []client.Object{oil, owned(prod, oil), reader(oil, "alice", "bob")}, want: readers("User alice"), writes: []string{apply},
		},
		"somebody added a subject": {
			given: []client.Object{oil, owned(prod, oil), reader(oil, "alice", "eve")}, want: readers("User alice"), writes: []string{apply},
		},
		"somebody removed the Tenant's label": {
			given: []client.Object{oil, owned(prod, oil), noLabel}, want: readers("User alice"), writes: []string{apply},
		},
		"no owners whose names can be understood: no binding": {
			given: []client.Object{nobody, owned(prod, nobody)}, want: map[string][]string{},
		},
		"the last owner goes": {
			given: []client.Object{nobody, owned(prod, oil), reader(oil, "alice")}, want: map[string][]string{},
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil"},
		},
		"the namespace is no Tenant's": {
			given: []client.Object{oil, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: prod}}}, want: map[string][]string{},
		},
		"the namespace left: the label is gone": {
			given: []client.Object{oil, unlabelled, reader(oil, "alice")}, want: map[string][]string{},
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil"},
		},
		"the Tenant is gone": {
			given: []client.Object{owned(prod, oil), reader(oil, "alice")}, want: map[string][]string{},
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil"},
		},
		"the Tenant is another of the same name": {
			given: []client.Object{oil, owned(prod, earlier), reader(earlier, "alice")}, want: map[string][]string{},
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil"},
		},
		"the namespace moved here": {
			given: []client.Object{oil, gas, owned(prod, oil), reader(gas, "bob")}, want: readers("User alice"),
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:gas", create},
		},
		"a binding of an earlier life": {
			given: []client.Object{oil, owned(prod, oil), reader(earlier, "eve")}, want: readers("User alice"),
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil", create},
		},
		"a binding to another role": {
			given: []client.Object{oil, owned(prod, oil), wrongRole}, want: readers("User alice"),
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:oil", create},
		},
		"a binding of another name": {
			given: []client.Object{oil, owned(prod, oil), wrongName}, want: readers("User alice"),
			writes: []string{"delete RoleBinding oil-prod/capsule:tenant:copy", create},
		},
		"a binding of somebody else": {
			given: []client.Object{oil, owned(prod, oil), others}, writes: []string{create},
			want: mixed(readers("User alice"), map[string][]string{"RoleBinding oil-prod/capsule:tenant:gas": {"to ClusterRole tenancy:namespace-reader", "User eve"}}),
		},
		"a namespace that is going away: nothing is made": {
			given: []client.Object{oil, terminating}, want: map[string][]string{},
		},
		"a namespace that is going away: what is there stays": {
			given: []client.Object{oil, terminating, reader(oil, "alice")}, want: readers("User alice"),
		},
		"a namespace that is going away: who is no owner any more goes": {
			given: []client.Object{oil, terminating, reader(oil, "alice", "eve")}, want: readers("User alice"), writes: []string{apply},
		},
		"no namespace": {given: []client.Object{oil}, want: map[string][]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			given := make([]client.Object, 0, len(test.given))
			for _, object := range test.given {
				given = append(given, copied(object))
			}
			c := newCluster(t, given...)
			for range 2 {
				result, err := c.reconcileNamespace(t)
				must(t, err)
				if diff := cmp.Diff(ctrl.Result{}, result); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.want, c.compiled(t)); diff != "" {
					t.Errorf("bindings (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.writes, c.written()); diff != "" {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
				test.writes = nil
			}
		})
	}
}

func TestReadersAreMarked(t *testing.T) {
	oil := goldOwners(t, "alice")
	c := newCluster(t, oil, owned(prod, oil))
	_, err := c.reconcileNamespace(t)
	must(t, err)
	got, want := &rbacv1.RoleBinding{}, reader(oil, "alice")
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(want), got))
	if diff := cmp.Diff(want.Labels, got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.OwnerReferences, got.OwnerReferences); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

// TestASubjectThatAnOwnerAppliedGoes has alice apply what there is, so that leaving
// the subjects out would not remove her.
func TestASubjectThatAnOwnerAppliedGoes(t *testing.T) {
	oil := goldOwners(t, "alice")
	c := newCluster(t, oil, owned(prod, oil))
	_, err := c.reconcileNamespace(t)
	must(t, err)
	must(t, c.Client.Apply(t.Context(), rbacv1ac.RoleBinding("capsule:tenant:oil", prod).WithRoleRef(
		rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName("tenancy:namespace-reader")).WithSubjects(
		rbacv1ac.Subject().WithAPIGroup(rbacv1.GroupName).WithKind("User").WithName("alice")), client.FieldOwner("alice")))
	nobody := goldOwners(t)
	nobody.ResourceVersion = ""
	must(t, c.Client.DeleteAllOf(t.Context(), &capsulev1beta2.Tenant{}))
	must(t, c.Create(t.Context(), nobody))
	_, err = c.reconcileNamespace(t)
	must(t, err)
	if diff := cmp.Diff(map[string][]string{}, c.compiled(t)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}

func TestAReaderThatIsSomebodyElses(t *testing.T) {
	oil := goldOwners(t, "alice")
	foreign := reader(oil, "eve")
	foreign.Labels, foreign.OwnerReferences = nil, nil
	c := newCluster(t, oil, owned(prod, oil))
	must(t, c.Create(t.Context(), foreign, client.FieldOwner("somebody")))
	if _, err := c.reconcileNamespace(t); !errors.Is(err, errForeign) {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff(readers("User eve"), c.compiled(t)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}

func TestAReaderThatWasChangedSince(t *testing.T) {
	oil := goldOwners(t, "alice")
	c := newCluster(t, oil, owned(prod, oil), reader(oil, "bob"))
	c.refuse = func(string) error {
		c.refuse = nil
		change(c, client.ObjectKey{Namespace: prod, Name: "capsule:tenant:oil"}, &rbacv1.RoleBinding{}, func(b *rbacv1.RoleBinding) { b.Labels["x"] = "y" })
		return nil
	}
	result, err := c.reconcileNamespace(t)
	must(t, err)
	if diff := cmp.Diff(ctrl.Result{RequeueAfter: conflictDelay}, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	c.refuse = func(string) error {
		return apierrors.NewForbidden(rbacv1.Resource("rolebindings"), "", errors.New("no"))
	}
	if _, err := c.reconcileNamespace(t); !apierrors.IsForbidden(err) {
		t.Errorf("got error %v", err)
	}
}
