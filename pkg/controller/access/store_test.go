// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	// oilsRole is the role of owners who may list nodes.
	oilsRole = "capsule:tenant:oil:3"
	getOil   = "get tenants.capsule.clastix.io: oil"
)

// node returns a node with labels of the form key=value.
func node(name string, labels ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		n.Labels[key] = value
	}
	return n
}

// goldOwners returns a Tenant whose owners may list the nodes of tier gold.
func goldOwners(tb testing.TB, owners ...string) *capsulev1beta2.Tenant {
	tb.Helper()
	oil := tenantSpec(tb, `{nodeSelector: {tier: gold}}`)
	for _, name := range owners {
		o := capsulev1beta2.OwnerSpec{ProxySettings: []capsulev1beta2.ProxyOperations{{Kind: "Nodes", Operations: []capsulev1beta2.ProxyOperation{"List"}}}}
		o.UserSpec = capsulev1beta2.UserSpec{Kind: "User", Name: name}
		oil.Spec.Owners = append(oil.Spec.Owners, o)
	}
	return oil
}

// compileTenant compiles a Tenant in a cluster.
func (c *fakeCluster) compileTenant(tb testing.TB, oil *capsulev1beta2.Tenant) error {
	tb.Helper()
	groups, errs := policy{writeOperations: true}.tenantGroups(oil, ownersIn(oil), nil)
	must(tb, errs.ToAggregate())
	return compiler{reader: c, store: store{c}, interests: newInterests()}.compile(tb.Context(), tenantOwner(oil), groups)
}

// nodesFor returns what is compiled for owners who may list nodes.
func nodesFor(nodes string, subjects ...string) map[string][]string {
	return mixed(
		bound(oilsRole, []string{"get,list,watch nodes: " + nodes, getOil, "get nodes.metrics.k8s.io: " + nodes}, subjects...),
		leases(oilsRole, nodes, subjects...))
}

func TestCompiledObjects(t *testing.T) {
	c := newCluster(t, node("a", "tier=gold"), node("b"))
	oil := goldOwners(t, "alice")
	must(t, c.compileTenant(t, oil))
	if diff := cmp.Diff([]string{
		"apply ClusterRole " + oilsRole,
		"apply Role kube-node-lease/" + oilsRole,
		"apply ClusterRoleBinding " + oilsRole,
		"apply RoleBinding kube-node-lease/" + oilsRole,
	}, c.written()); diff != "" {
		t.Errorf("writes, roles before bindings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(nodesFor("a", "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
	for _, object := range compiledObjects() {
		key := client.ObjectKey{Name: oilsRole}
		switch object.(type) {
		case *rbacv1.Role, *rbacv1.RoleBinding:
			key.Namespace = "kube-node-lease"
		}
		must(t, c.Get(t.Context(), key, object))
		if diff := cmp.Diff(map[string]string{"tenancy.capsule.io/access": "compiled", "capsule.clastix.io/tenant": "oil"}, object.GetLabels()); diff != "" {
			t.Errorf("labels of %T (-want +got):\n%s", object, diff)
		}
		if diff := cmp.Diff([]metav1.OwnerReference{{
			APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: "oil-1", Controller: new(true),
		}}, object.GetOwnerReferences()); diff != "" {
			t.Errorf("owners of %T (-want +got):\n%s", object, diff)
		}
	}
	must(t, c.compileTenant(t, oil))
	if diff := cmp.Diff([]string(nil), c.written()); diff != "" {
		t.Errorf("what is right is written again (-want +got):\n%s", diff)
	}
}

func TestCompiledObjectsFollow(t *testing.T) {
	c := newCluster(t, node("a", "tier=gold"), node("b"))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	c.written()

	relabelled := node("b", "tier=gold")
	must(t, c.Update(t.Context(), relabelled))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	if diff := cmp.Diff(nodesFor("a,b", "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("with b (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"apply ClusterRole " + oilsRole, "apply Role kube-node-lease/" + oilsRole}, c.written()); diff != "" {
		t.Errorf("writes for b (-want +got):\n%s", diff)
	}

	must(t, c.Client.DeleteAllOf(t.Context(), &corev1.Node{}))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	if diff := cmp.Diff(bound(oilsRole, []string{getOil}, "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("without nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"apply ClusterRole " + oilsRole, "delete RoleBinding kube-node-lease/" + oilsRole, "delete Role kube-node-lease/" + oilsRole,
	}, c.written()); diff != "" {
		t.Errorf("writes without nodes (-want +got):\n%s", diff)
	}
}

// TestAnEarlierLifeOfTheOwner makes the Tenant again, with another owner: nobody of
// the first life holds anything of the second.
func TestAnEarlierLifeOfTheOwner(t *testing.T) {
	c := newCluster(t, node("a", "tier=gold"))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	c.written()
	second := goldOwners(t, "bob")
	second.UID = "oil-2"
	must(t, c.compileTenant(t, second))
	if diff := cmp.Diff(nodesFor("a", "User bob"), c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"delete ClusterRoleBinding " + oilsRole, "delete ClusterRole " + oilsRole,
		"delete RoleBinding kube-node-lease/" + oilsRole, "delete Role kube-node-lease/" + oilsRole,
		"apply ClusterRole " + oilsRole, "apply Role kube-node-lease/" + oilsRole,
		"apply ClusterRoleBinding " + oilsRole, "apply RoleBinding kube-node-lease/" + oilsRole,
	}, c.written()); diff != "" {
		t.Errorf("writes, the earlier bindings first (-want +got):\n%s", diff)
	}
}

// TestADeletedOwner removes everything.
func TestADeletedOwner(t *testing.T) {
	c := newCluster(t, node("a", "tier=gold"))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	i := newInterests()
	must(t, compiler{reader: c, store: store{c}, interests: i}.compile(t.Context(), owner{gvk: tenantKind, name: "oil"}, nil))
	if diff := cmp.Diff(map[string][]string{}, c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
	for k, owners := range i.of {
		if len(owners) > 0 {
			t.Errorf("interests in %s remain: %v", k.resource, owners)
		}
	}
}

// change changes an object as somebody else.
func change[T client.Object](c *fakeCluster, key client.ObjectKey, object T, how func(T)) {
	c.tb.Helper()
	must(c.tb, c.Get(c.tb.Context(), key, object))
	how(object)
	must(c.tb, c.Update(c.tb.Context(), object, client.FieldOwner("somebody")))
}

func TestWhatSomebodyChangedIsPutRight(t *testing.T) {
	clusterWide, inNamespace := client.ObjectKey{Name: oilsRole}, client.ObjectKey{Namespace: "kube-node-lease", Name: oilsRole}
	for name, edit := range map[string]func(c *fakeCluster){
		"a rule more": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) {
				r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}})
			})
		},
		"a path more": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) {
				r.Rules = append(r.Rules, rbacv1.PolicyRule{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}})
			})
		},
		"no names": func(c *fakeCluster) {
			change(c, inNamespace, &rbacv1.Role{}, func(r *rbacv1.Role) { r.Rules[0].ResourceNames = nil })
		},
		"no rules": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) { r.Rules = nil })
		},
		"a subject more": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRoleBinding{}, func(b *rbacv1.ClusterRoleBinding) {
				b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "eve"})
			})
		},
		"other subjects": func(c *fakeCluster) {
			change(c, inNamespace, &rbacv1.RoleBinding{}, func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "eve" })
		},
		"no subjects": func(c *fakeCluster) {
			change(c, inNamespace, &rbacv1.RoleBinding{}, func(b *rbacv1.RoleBinding) { b.Subjects = nil })
		},
		"another role": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRoleBinding{}, func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "cluster-admin" })
		},
		"the Tenant's label": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) { r.Labels[capsulev1beta2.TenantLabel] = "gas" })
		},
		"our label": func(c *fakeCluster) {
			change(c, inNamespace, &rbacv1.Role{}, func(r *rbacv1.Role) { delete(r.Labels, Label) })
		},
		"the owner of the role": func(c *fakeCluster) {
			change(c, clusterWide, &rbacv1.ClusterRole{}, func(r *rbacv1.ClusterRole) { r.OwnerReferences[0].UID = "another" })
		},
		"the owner of the binding": func(c *fakeCluster) {
			change(c, inNamespace, &rbacv1.RoleBinding{}, func(b *rbacv1.RoleBinding) { b.OwnerReferences[0].UID = "another" })
		},
		"the role is gone": func(c *fakeCluster) {
			must(c.tb, c.Client.DeleteAllOf(c.tb.Context(), &rbacv1.ClusterRole{}))
		},
		"the binding is gone": func(c *fakeCluster) {
			must(c.tb, c.Client.DeleteAllOf(c.tb.Context(), &rbacv1.ClusterRoleBinding{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, node("a", "tier=gold"))
			must(t, c.compileTenant(t, goldOwners(t, "alice")))
			c.written()
			edit(c)
			must(t, c.compileTenant(t, goldOwners(t, "alice")))
			if diff := cmp.Diff(nodesFor("a", "User alice"), c.compiled(t)); diff != "" {
				t.Errorf("compiled (-want +got):\n%s", diff)
			}
			if len(c.written()) == 0 {
				t.Error("nothing was written")
			}
			must(t, c.compileTenant(t, goldOwners(t, "alice")))
			if writes := c.written(); len(writes) > 0 {
				t.Errorf("what is right is written again: %v", writes)
			}
		})
	}
}

// TestNoRulesAreSaid: leaving them out would leave what another field manager has
// applied, too. The fake client makes no difference, the API server does.
func TestNoRulesAreSaid(t *testing.T) {
	c := newCluster(t)
	for _, at := range []place{{name: oilsRole}, {namespace: "kube-node-lease", name: oilsRole}} {
		_, err := store{c}.applyRole(t.Context(), tenantOwner(goldOwners(t)), step{at: at, grants: grants{}}, nil)
		must(t, err)
		if !strings.Contains(c.applied, `"rules":[]`) {
			t.Errorf("applied %s", c.applied)
		}
	}
}

func TestWhatIsSomebodyElsesStays(t *testing.T) {
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}
	eve := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "eve"}}
	meta := metav1.ObjectMeta{Name: oilsRole}
	for name, foreign := range map[string]client.Object{
		"a ClusterRole": &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules},
		"a Role":        &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: oilsRole}, Rules: rules},
		"a ClusterRoleBinding": &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, Subjects: eve, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: oilsRole},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, ok := foreign.DeepCopyObject().(client.Object)
			if !ok {
				t.Fatal("no object")
			}
			c := newCluster(t, node("a", "tier=gold"))
			must(t, c.Create(t.Context(), foreign, client.FieldOwner("somebody")))
			err := c.compileTenant(t, goldOwners(t, "alice"))
			if !errors.Is(err, errForeign) || !strings.Contains(err.Error(), oilsRole) {
				t.Errorf("got error %v", err)
			}
			after, ok := before.DeepCopyObject().(client.Object)
			if !ok {
				t.Fatal("no object")
			}
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(before), after))
			after.SetResourceVersion("")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("it was changed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatTenantsWriteIsNotRead has the owner of another Tenant claim that a
// RoleBinding of its own was compiled.
func TestWhatTenantsWriteIsNotRead(t *testing.T) {
	for name, uid := range map[string]types.UID{"of this life": "oil-1", "of another": "oil-0"} {
		t.Run(name, func(t *testing.T) {
			forged := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "gas-prod", Name: oilsRole, UID: "forged", Labels: map[string]string{Label: compiled, capsulev1beta2.TenantLabel: "oil"},
					OwnerReferences: []metav1.OwnerReference{{
						APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: uid, Controller: new(true),
					}},
				},
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: oilsRole},
			}
			c := newCluster(t, node("a", "tier=gold"), forged)
			// Whatever is done about it, it must not be in the way.
			c.refuse = func(write string) error {
				if strings.Contains(write, "gas-prod") {
					return apierrors.NewConflict(rbacv1.Resource("rolebindings"), oilsRole, errors.New("touched all the time"))
				}
				return nil
			}
			must(t, c.compileTenant(t, goldOwners(t, "alice")))
			if slices.ContainsFunc(c.written(), func(write string) bool { return strings.Contains(write, "gas-prod") }) {
				t.Error("the namespace of another Tenant was written to")
			}
			if names := ownerNames(tenantKind.Kind)(forged); len(names) > 0 {
				t.Errorf("its events bring back %v", names)
			}
		})
	}
}

// TestWritesNameTheirRevision has somebody write between read and write.
func TestWritesNameTheirRevision(t *testing.T) {
	for name, to := range map[string]*capsulev1beta2.Tenant{
		"a role that changes": goldOwners(t, "alice"), "a binding that changes": goldOwners(t, "alice", "bob"), "all that goes": goldOwners(t),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, node("a", "tier=gold"))
			must(t, c.compileTenant(t, goldOwners(t, "alice")))
			if name == "a role that changes" {
				must(t, c.Create(t.Context(), node("b", "tier=gold")))
			}
			c.refuse = func(string) error {
				c.refuse = nil
				for _, object := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
					change(c, client.ObjectKey{Name: oilsRole}, object, func(o client.Object) { o.SetAnnotations(map[string]string{"touched": "true"}) })
				}
				return nil
			}
			if err := c.compileTenant(t, to); !apierrors.IsConflict(err) {
				t.Errorf("got error %v, want a conflict", err)
			}
			must(t, c.compileTenant(t, to))
		})
	}
}

func TestOwnerNames(t *testing.T) {
	object := func(how func(*rbacv1.Role)) *rbacv1.Role {
		r := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-node-lease", Labels: map[string]string{Label: compiled},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Tenant", Name: "oil", Controller: new(true)}},
		}}
		how(r)
		return r
	}
	for name, test := range map[string]struct {
		given *rbacv1.Role
		want  []string
	}{
		"compiled":                   {given: object(func(*rbacv1.Role) {}), want: []string{"oil"}},
		"cluster-wide":               {given: object(func(r *rbacv1.Role) { r.Namespace = "" }), want: []string{"oil"}},
		"in a namespace of a Tenant": {given: object(func(r *rbacv1.Role) { r.Namespace = "oil-prod" })},
		"without our label":          {given: object(func(r *rbacv1.Role) { r.Labels = nil })},
		"the RoleBinding for owners": {given: object(func(r *rbacv1.Role) { r.Labels[Label] = namespaceReader })},
		"of GlobalProxySettings":     {given: object(func(r *rbacv1.Role) { r.OwnerReferences[0].Kind = "GlobalProxySettings" })},
		"of an owner not in control": {given: object(func(r *rbacv1.Role) { r.OwnerReferences[0].Controller = nil })},
		"without an owner":           {given: object(func(r *rbacv1.Role) { r.OwnerReferences = nil })},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ownerNames("Tenant")(test.given)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLosses makes any writes of losses in any order, some not at all: nobody gains
// by it, and once all are made nobody holds what is not wanted.
func TestLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		present, w := rbacState{}, drawWorld(t)
		for at, u := range w.wanted(nil, 2) {
			s := state{}
			if rapid.IntRange(0, 5).Draw(t, "role") > 0 {
				s.role = &u.grants
			}
			if rapid.IntRange(0, 5).Draw(t, "binding") > 0 {
				s.binding = u.subjects
			}
			present[at] = s
		}
		// Other objects, other owners or none; and often other rights.
		next := drawWorld(t)
		if rapid.IntRange(0, 3).Draw(t, "same rights") > 0 {
			next.tenant, next.settings, next.policy = w.tenant.DeepCopy(), w.settings, w.policy
			next.tenant.Spec.Owners = next.tenant.Spec.Owners[:rapid.IntRange(0, len(w.tenant.Spec.Owners)).Draw(t, "owners")]
		}
		wanted := next.wanted(present, 2)
		before, after := present.held(), clusterOf(wanted).held()
		steps := losses(present, wanted)
		all := rapid.Bool().Draw(t, "all")
		for _, s := range steps {
			if all || rapid.Bool().Draw(t, "made") {
				present.do(t, s)
			}
			if more := beyond(present.held(), before); len(more) > 0 {
				t.Fatalf("%s gives %v", s, more)
			}
		}
		if more := beyond(present.held(), after); all && len(more) > 0 {
			t.Errorf("after %v somebody still holds %v", steps, more)
		}
	})
}

// TestARefusedGainDoesNotKeepALoss takes alice's ownership away while something
// that bob is to get cannot be written.
func TestARefusedGainDoesNotKeepALoss(t *testing.T) {
	for name, refusal := range map[string]error{
		"forbidden": apierrors.NewForbidden(rbacv1.Resource("clusterroles"), "", errors.New("attempting to grant RBAC permissions not currently held")),
		"too large": apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"foreign":   errForeign,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, node("a", "tier=gold"), node("b", "tier=gold"))
			must(t, c.compileTenant(t, goldOwners(t, "alice", "carol")))
			must(t, c.Client.Delete(t.Context(), node("b")))
			oil := goldOwners(t, "carol")
			// It needs a role of its own.
			oil.Spec.Owners = append(oil.Spec.Owners, capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
				UserSpec: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"},
			}})
			c.refuse = func(write string) error {
				if write == "apply ClusterRole capsule:tenant:oil:1" {
					return refusal
				}
				return nil
			}
			if err := c.compileTenant(t, oil); !errors.Is(err, refusal) {
				t.Errorf("got error %v, want %v", err, refusal)
			}
			if diff := cmp.Diff(nodesFor("a", "User carol"), c.compiled(t)); diff != "" {
				t.Errorf("compiled (-want +got):\n%s", diff)
			}
			c.refuse = nil
			must(t, c.compileTenant(t, oil))
			if diff := cmp.Diff(mixed(nodesFor("a", "User carol"), bound("capsule:tenant:oil:1", []string{getOil}, "User bob")), c.compiled(t)); diff != "" {
				t.Errorf("compiled in the end (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAConflictIsNoReasonToLose: the next try does everything.
func TestAConflictIsNoReasonToLose(t *testing.T) {
	c := newCluster(t, node("a", "tier=gold"))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	c.written()
	c.refuse = func(string) error {
		return apierrors.NewConflict(rbacv1.Resource("clusterroles"), oilsRole, errors.New("changed"))
	}
	if err := c.compileTenant(t, goldOwners(t, "bob")); !apierrors.IsConflict(err) {
		t.Errorf("got error %v, want a conflict", err)
	}
	if writes := c.written(); len(writes) > 0 {
		t.Errorf("wrote %v", writes)
	}
}
