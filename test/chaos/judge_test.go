// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// story is events, one a second.
type story struct{ events []event }

func (s *story) at(n int) time.Time { return time.Unix(int64(n), 0) }

func (s *story) tell(k *kind, name string, object client.Object) *story {
	return s.tellIn("", k, name, object)
}

func (s *story) tellIn(namespace string, k *kind, name string, object client.Object) *story {
	n := len(s.events) + 1
	s.events = append(s.events, event{id: id{k, client.ObjectKey{Namespace: namespace, Name: name}}, revision: uint64(n), object: object, received: s.at(n)})
	return s
}

func (s *story) oil(uid types.UID, pool string, owners ...string) *story {
	t := newTenant("oil")
	t.UID, t.Spec.NodeSelector = uid, map[string]string{poolLabel: pool}
	for _, name := range owners {
		owner := capsulev1beta2.OwnerSpec{ProxySettings: []capsulev1beta2.ProxyOperations{{
			Kind: capsulev1beta2.NodesProxy, Operations: []capsulev1beta2.ProxyOperation{capsulev1beta2.DeleteOperation},
		}}}
		owner.UserSpec = capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}
		t.Spec.Owners = append(t.Spec.Owners, owner)
	}
	return s.tell(tenants, "oil", t)
}

func (s *story) node(pool string) *story {
	return s.tell(nodes, "a", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{poolLabel: pool}}})
}

func (s *story) role(names ...string) *story {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "oil"}}
	if len(names) > 0 {
		role.Rules = []rbacv1.PolicyRule{{Verbs: []string{"delete"}, APIGroups: []string{""}, Resources: []string{"nodes"}, ResourceNames: names}}
	}
	return s.tell(clusterRoles, "oil", role)
}

func (s *story) bind(uid types.UID, names ...string) *story {
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "oil", OwnerReferences: ofOil(uid)},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "oil"},
	}
	for _, name := range names {
		subject, _ := subjectOf(capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name})
		binding.Subjects = append(binding.Subjects, subject)
	}
	return s.tell(clusterRoleBindings, "oil", binding)
}

// TestReplay tells stories of which the end is right or wrong.
func TestReplay(t *testing.T) {
	begin := func() *story { return new(story).oil("1", "oil", "alice").node("oil").role("a") }
	limited := func() *story { return new(story).limit().space("1") }
	right := &networkingv1.NetworkPolicy{Spec: policyItems[0].is}
	wrong := &networkingv1.NetworkPolicy{Spec: policyItems[1].is}
	foreign := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{foreignAnnotation: ""}}}
	for name, test := range map[string]struct {
		story *story
		// restart is when a controller was started that makes the last write.
		restart int
		// calm is since when nobody killed the controller.
		calm int
		want string
	}{
		"given":                               {story: begin().bind("1", "alice")},
		"not to bob":                          {story: begin().bind("1", "bob"), want: "bob may delete nodes. a"},
		"not another name":                    {story: begin().bind("1", "alice").role("b"), want: "alice may delete nodes. b"},
		"not everything":                      {story: begin().bind("1", "alice").tell(clusterRoles, "oil", &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{"delete"}, APIGroups: []string{""}, Resources: []string{"nodes"}}}}), want: "alice may delete nodes. *"},
		"not by another life":                 {story: begin().bind("2", "alice"), want: "by Tenant oil (2): User alice may delete nodes. a"},
		"not by an earlier life":              {story: begin().oil("2", "oil", "alice").bind("1", "alice"), restart: 4, want: "by Tenant oil (1): User alice may delete nodes. a"},
		"not taken over":                      {story: begin().bind("1", "alice").oil("2", "oil", "alice").bind("2", "alice"), want: "taken over"},
		"by nobody":                           {story: begin().bind("", "alice"), want: "User alice may delete nodes. a"},
		"a moment ago":                        {story: begin().node("gas").bind("1", "alice")},
		"before the controller started":       {story: begin().node("gas").tell(nodes, "b", &corev1.Node{}).bind("1", "alice"), restart: 5, want: "alice may delete nodes. a"},
		"too long ago":                        {story: begin().node("gas").later(12).bind("1", "alice"), want: "alice may delete nodes. a"},
		"by versions that never met":          {story: new(story).oil("1", "gas", "alice").node("oil").role("a").node("wind").oil("1", "oil", "alice").bind("1", "alice")},
		"kept by the controller":              {story: begin().bind("1", "alice").node("gas"), calm: 4},
		"lost in a calm":                      {story: begin().bind("1", "alice").role(), calm: 4, want: "all the time since"},
		"lost to another subject in a calm":   {story: begin().bind("1", "alice").bind("1", "bob"), calm: 4, want: "all the time since"},
		"lost when the controller was killed": {story: begin().bind("1", "alice").role()},
		"lost as the node went":               {story: begin().bind("1", "alice").node("gas").role(), calm: 4},
		"lost as the node went and came":      {story: begin().bind("1", "alice").node("gas").node("oil").role(), calm: 4},

		"limited before":                    {story: limited().policy(right).use()},
		"not limited":                       {story: limited().use(), want: "there was no networkpolicies capsule-oil-0"},
		"limited too late":                  {story: limited().use().policy(right), want: "there was no networkpolicies capsule-oil-0"},
		"limited otherwise":                 {story: limited().policy(wrong).use(), want: "there was no networkpolicies capsule-oil-0"},
		"limited otherwise a moment ago":    {story: limited().policy(wrong).policy(right).use()},
		"limited a moment ago":              {story: limited().policy(right).policy(nil).use()},
		"limited until the controller came": {story: limited().policy(right).policy(nil).use(), restart: 4, want: "there was no networkpolicies capsule-oil-0"},
		"not to be limited a moment ago":    {story: new(story).oil("1", "oil", "alice").limit().space("1").use()},
		"limited in an earlier namespace":   {story: limited().policy(right).policy(nil).space("2").use(), want: "there was no networkpolicies capsule-oil-0"},
		"somebody's is in the way":          {story: limited().policy(foreign).use()},
		"somebody's is changed":             {story: limited().policy(foreign).policy(right), want: "it was changed, and is not the controller's"},
		"somebody's is deleted":             {story: limited().policy(foreign).policy(nil), want: "it was deleted, and is not the controller's"},
		"somebody's goes with its namespace": {story: limited().policy(foreign).tell(namespaces, "space", &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: "space", UID: "1", DeletionTimestamp: new(metav1.Now())},
		}).policy(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.story
			end := s.at(len(s.events) + 1)
			var calms []calm
			if test.calm > 0 {
				calms = append(calms, calm{s.at(test.calm), end})
			}
			var lives []life
			if test.restart > 0 {
				started := s.at(test.restart).Add(time.Millisecond)
				lives = append(lives, life{started: started, ready: started})
			}
			got := strings.Join(newReplay(lives, calms, newByHand()).run(s.events), "\n")
			if test.want == "" {
				require.Empty(t, got)
			} else {
				require.Contains(t, got, test.want)
			}
		})
	}
}

// limit has the Tenant impose a NetworkPolicy.
func (s *story) limit() *story {
	s.oil("1", "oil", "alice")
	t := s.events[len(s.events)-1].object.(*capsulev1beta2.Tenant)
	t.Spec.NetworkPolicies = &capsulev1beta2.NetworkPolicies{Items: []networkingv1.NetworkPolicySpec{policyItems[0].written}}
	return s
}

// space makes a namespace of the Tenant.
func (s *story) space(uid types.UID) *story {
	return s.tell(namespaces, "space", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "space", UID: uid, Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"}, OwnerReferences: ofOil("1"),
	}})
}

// policy is what the Tenant's policy is from then on.
func (s *story) policy(policy *networkingv1.NetworkPolicy) *story {
	if policy == nil {
		return s.tellIn("space", networkPolicies, "capsule-oil-0", nil)
	}
	return s.tellIn("space", networkPolicies, "capsule-oil-0", policy)
}

// use lets alice use the namespace.
func (s *story) use() *story {
	alice, _ := subjectOf(capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"})
	return s.tellIn("space", roleBindings, "capsule:managed:1", &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "capsule:managed:1", OwnerReferences: ofOil("1")},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "admin"}, Subjects: []rbacv1.Subject{alice},
	})
}

func ofOil(uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: uid, Controller: new(true)}}
}

// later lets seconds pass.
func (s *story) later(seconds int) *story {
	for range seconds {
		s.tell(nodes, "other", &corev1.Node{})
	}
	return s
}
