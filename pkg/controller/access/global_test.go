// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// global returns GlobalProxySettings with these rules.
func global(tb testing.TB, rules string) *capsulev1beta1.GlobalProxySettings {
	tb.Helper()
	s := &capsulev1beta1.GlobalProxySettings{ObjectMeta: metav1.ObjectMeta{Name: "sre", UID: "sre-1", Generation: 3}}
	must(tb, yaml.UnmarshalStrict([]byte(rules), &s.Spec.Rules))
	return s
}

func TestGlobalKinds(t *testing.T) {
	all := []string{"nodes", "persistentvolumes", "storageclasses", "ingressclasses", "priorityclasses", "runtimeclasses", "namespaces", "tenants"}
	for _, test := range []struct {
		group, resource string
		want            []string
	}{
		{"", "nodes", []string{"nodes"}},
		{"", "persistentvolumes", []string{"persistentvolumes"}},
		{"", "namespaces", []string{"namespaces"}},
		{"storage.k8s.io", "storageclasses", []string{"storageclasses"}},
		{"networking.k8s.io", "ingressclasses", []string{"ingressclasses"}},
		{"scheduling.k8s.io", "priorityclasses", []string{"priorityclasses"}},
		{"node.k8s.io", "runtimeclasses", []string{"runtimeclasses"}},
		{"capsule.clastix.io", "tenants", []string{"tenants"}},
		// With versions.
		{"storage.k8s.io/v1", "storageclasses", []string{"storageclasses"}},
		{"storage.k8s.io/v1beta1", "storageclasses", nil},
		{"storage.k8s.io/*", "storageclasses", []string{"storageclasses"}},
		{"capsule.clastix.io/v1beta2", "tenants", []string{"tenants"}},
		{"capsule.clastix.io/v1beta1", "tenants", nil},
		{"*/v1", "storageclasses", []string{"storageclasses"}},
		// With wildcards.
		{"*", "nodes", []string{"nodes"}},
		{"*", "*", all},
		{"", "*", []string{"nodes", "persistentvolumes", "namespaces"}},
		{"*.k8s.io", "*", []string{"storageclasses", "ingressclasses", "priorityclasses", "runtimeclasses"}},
		{"n*.k8s.io", "*", []string{"ingressclasses", "runtimeclasses"}},
		{"node*", "*", []string{"runtimeclasses"}},
		// What is not served.
		{"", "storageclasses", nil},
		{"storage.k8s.io", "nodes", nil},
		{"storage.k8s.io", "csinodes", nil},
		{"metrics.k8s.io", "nodes", nil},
		{"coordination.k8s.io", "leases", nil},
		{"", "secrets", nil},
		{"", "node", nil},
		{"", "Nodes", nil},
		{"", "nodes/status", nil},
		{"", "", nil},
		{"v1", "nodes", nil},
		{"[", "nodes", nil},
	} {
		var got []string
		for i := range globalKinds {
			if globalKinds[i].is(test.group, test.resource) {
				got = append(got, globalKinds[i].resource)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q in %q (-want +got):\n%s", test.resource, test.group, diff)
		}
	}
}

// compileGlobal compiles GlobalProxySettings by themselves, and names groups by
// their order.
func compileGlobal(tb testing.TB, s *capsulev1beta1.GlobalProxySettings, given ...client.Object) (map[string][]string, problems) {
	tb.Helper()
	groups, found := globalGroups(s)
	c := newCluster(tb, given...)
	must(tb, compiler{reader: c, store: store{c}, interests: newInterests()}.compile(tb.Context(), owner{gvk: globalKind, name: s.Name, uid: s.UID}, groups))
	all := c.compiled(tb)
	byNumber := map[string][]string{}
	for name, lines := range all {
		for n, g := range groups {
			number := fmt.Sprint("capsule:global:sre:", n)
			for i := range lines {
				lines[i] = strings.ReplaceAll(lines[i], g.name, number)
			}
			name = strings.ReplaceAll(name, g.name, number)
		}
		byNumber[name] = lines
	}
	return byNumber, found
}

func TestGlobalProxySettings(t *testing.T) {
	labelled := func(object client.Object, name string, labels ...string) client.Object {
		object.SetName(name)
		object.SetLabels(node(name, labels...).Labels)
		return object
	}
	given := []client.Object{
		node("a", "tier=gold"), node("b", "tier=silver"), node("c"),
		labelled(&corev1.Namespace{}, "shared", "tier=gold"), labelled(&corev1.Namespace{}, "other"),
		labelled(&capsulev1beta2.Tenant{}, "gas", "tier=gold"), labelled(&capsulev1beta2.Tenant{}, "oil"),
		labelled(&corev1.PersistentVolume{}, "pv", "tier=gold"),
	}
	one := func(rules []string, subjects ...string) map[string][]string {
		return bound("capsule:global:sre:0", rules, subjects...)
	}
	for name, test := range map[string]struct {
		rules string
		want  map[string][]string
		// wantInvalid are fields, wantUnsupported what no view is served of.
		wantInvalid, wantUnsupported []string
	}{
		"no rules": {rules: `[]`, want: map[string][]string{}},
		"List includes Get": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [namespaces], operations: [List], selector: {matchLabels: {tier: gold}}}]}]`,
			want:  one([]string{"get,list,watch namespaces: shared"}, "User bob"),
		},
		"Get is get": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [namespaces], operations: [Get], selector: {matchLabels: {tier: gold}}}]}]`,
			want:  one([]string{"get namespaces: shared"}, "User bob"),
		},
		"without operations both": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [capsule.clastix.io], resources: [tenants], selector: {matchLabels: {tier: gold}}}]}]`,
			want:  one([]string{"get,list,watch tenants.capsule.clastix.io: gas"}, "User bob"),
		},
		"an empty list of operations is nothing": {
			rules:       `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [namespaces], operations: [], selector: {matchLabels: {tier: gold}}}]}]`,
			want:        map[string][]string{},
			wantInvalid: []string{"spec.rules[0].clusterResources[0].operations"},
		},
		"nodes with their usage and leases": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [nodes], operations: [Get], selector: {matchExpressions: [{key: tier, operator: Exists}]}}]}]`,
			want: mixed(one([]string{"get nodes: a,b", "get nodes.metrics.k8s.io: a,b"}, "User bob"),
				map[string][]string{
					"Role kube-node-lease/capsule:global:sre:0":        {"get leases.coordination.k8s.io: a,b"},
					"RoleBinding kube-node-lease/capsule:global:sre:0": {"to Role capsule:global:sre:0", "User bob"},
				}),
		},
		"nothing matches: no rule": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: ["*"], selector: {matchLabels: {tier: lead}}}]}]`,
			want:  one([]string{}, "User bob"),
		},
		"an empty selector selects nothing": {
			rules:       `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [nodes], selector: {}}]}]`,
			want:        one([]string{}, "User bob"),
			wantInvalid: []string{"spec.rules[0].clusterResources[0].selector"},
		},
		"no selector selects nothing": {
			rules:       `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [nodes]}]}]`,
			want:        one([]string{}, "User bob"),
			wantInvalid: []string{"spec.rules[0].clusterResources[0].selector"},
		},
		"a bad selector selects nothing, the rest counts": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [
				{apiGroups: [""], resources: [nodes], selector: {matchExpressions: [{key: tier, operator: Likes}]}},
				{apiGroups: [""], resources: [namespaces], selector: {matchLabels: {tier: gold}}}]}]`,
			want:        one([]string{"get,list,watch namespaces: shared"}, "User bob"),
			wantInvalid: []string{"spec.rules[0].clusterResources[0].selector"},
		},
		"Exists with values is read In": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [namespaces, persistentvolumes], selector: {matchExpressions: [{key: tier, operator: Exists, values: [gold]}]}}]}]`,
			want:  one([]string{"get,list,watch namespaces: shared", "get,list,watch persistentvolumes: pv"}, "User bob"),
		},
		"the union of selectors, of each operation its own": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [
				{apiGroups: [""], resources: [persistentvolumes, namespaces], operations: [List], selector: {matchLabels: {tier: gold}}},
				{apiGroups: [""], resources: [namespaces], operations: [Get], selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}]}]`,
			want: one([]string{"get namespaces: other,shared", "list,watch namespaces: shared", "get,list,watch persistentvolumes: pv"}, "User bob"),
		},
		"what is not served is not given": {
			rules: `[{subjects: [{kind: User, name: bob}], clusterResources: [
				{apiGroups: ["", apps], resources: [secrets, namespaces], selector: {matchLabels: {tier: gold}}}]}]`,
			want: one([]string{"get,list,watch namespaces: shared"}, "User bob"),
			wantUnsupported: []string{
				`"secrets" in the API group "" (spec.rules[0].clusterResources[0])`, `"secrets" in the API group "apps" (spec.rules[0].clusterResources[0])`,
				`"namespaces" in the API group "apps" (spec.rules[0].clusterResources[0])`,
			},
		},
		"nothing that is served: no role": {
			rules:           `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [secrets], selector: {matchLabels: {tier: gold}}}]}]`,
			want:            map[string][]string{},
			wantUnsupported: []string{`"secrets" in the API group "" (spec.rules[0].clusterResources[0])`},
		},
		"no resources: no role": {
			rules: `[{subjects: [{kind: User, name: bob}]}]`, want: map[string][]string{},
		},
		"a subject that cannot be understood has nothing": {
			rules: `[{subjects: [{kind: ServiceAccount, name: robot}, {kind: Group, name: devs}, {kind: ServiceAccount, name: "system:serviceaccount:ci:robot"}],
				clusterResources: [{apiGroups: [""], resources: [namespaces], selector: {matchLabels: {tier: gold}}}]}]`,
			want:        one([]string{"get,list,watch namespaces: shared"}, "Group devs", "ServiceAccount ci:robot"),
			wantInvalid: []string{"spec.rules[0].subjects[0]"},
		},
		"subjects that are given the same in other rules share a role": {
			rules: `
- {subjects: [{kind: User, name: bob}, {kind: User, name: carol}], clusterResources: [{apiGroups: [""], resources: [namespaces], selector: {matchLabels: {tier: gold}}}]}
- {subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [persistentvolumes], selector: {matchLabels: {tier: gold}}}]}
- {subjects: [{kind: User, name: carol}], clusterResources: [{apiGroups: [""], resources: [persistentvolumes], selector: {matchLabels: {tier: gold}}}]}`,
			want: one([]string{"get,list,watch namespaces: shared", "get,list,watch persistentvolumes: pv"}, "User bob", "User carol"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := make([]client.Object, 0, len(given))
			for _, object := range given {
				objects = append(objects, copied(object))
			}
			got, found := compileGlobal(t, global(t, test.rules), objects...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("compiled (-want +got):\n%s", diff)
			}
			var fields []string
			for _, err := range found.invalid {
				fields = append(fields, err.Field)
			}
			if diff := cmp.Diff(test.wantInvalid, fields); diff != "" {
				t.Errorf("invalid (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantUnsupported, found.unsupported); diff != "" {
				t.Errorf("unsupported (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAGlobalNameStandsForTheSameRequests: who is given other things moves to
// another role.
func TestAGlobalNameStandsForTheSameRequests(t *testing.T) {
	const gold = `{apiGroups: [""], resources: [namespaces], selector: {matchLabels: {tier: gold}}}`
	const silver = `{apiGroups: [""], resources: [namespaces], selector: {matchLabels: {tier: silver}}}`
	name := func(rules string) string {
		t.Helper()
		groups, _ := globalGroups(global(t, rules))
		if len(groups) != 1 || !strings.HasPrefix(groups[0].name, "capsule:global:sre:") {
			t.Fatalf("groups %v", groups)
		}
		return groups[0].name
	}
	a := name(`[{subjects: [{kind: User, name: bob}], clusterResources: [` + gold + `, ` + silver + `]}]`)
	for _, same := range []string{
		`[{subjects: [{kind: User, name: bob}], clusterResources: [` + silver + `, ` + gold + `]}]`,
		`[{subjects: [{kind: User, name: eve}], clusterResources: [` + gold + `]}, {subjects: [{kind: User, name: eve}], clusterResources: [` + silver + `, ` + gold + `]}]`,
	} {
		if b := name(same); a != b {
			t.Errorf("%s is %s, not %s", same, b, a)
		}
	}
	for _, other := range []string{
		`[{subjects: [{kind: User, name: bob}], clusterResources: [` + gold + `]}]`,
		`[{subjects: [{kind: User, name: bob}], clusterResources: [` + silver + `]}]`,
		`[{subjects: [{kind: User, name: bob}], clusterResources: [` + gold + `, ` + silver[:len(silver)-1] + `, operations: [Get]}]}]`,
	} {
		if b := name(other); a == b {
			t.Errorf("%s is %s, too", other, b)
		}
	}
}

func TestInterestsOfGlobalProxySettings(t *testing.T) {
	s := global(t, `[{subjects: [{kind: User, name: bob}], clusterResources: [
		{apiGroups: ["*"], resources: ["*"], selector: {matchLabels: {tier: gold}}}, {apiGroups: [""], resources: [nodes], selector: {matchLabels: {tier: silver}}}]}]`)
	groups, _ := globalGroups(s)
	i := newInterests()
	i.set(owner{gvk: globalKind, name: s.Name}, groups)
	for k := range globalKinds {
		h := i.handler(&globalKinds[k])
		object := node("a", "tier=gold")
		if diff := cmp.Diff([]string{"sre" + atOnce}, send(t.Context(), h, object, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", globalKinds[k].resource, diff)
		}
		if got := send(t.Context(), h, nil, node("a")); len(got) > 0 {
			t.Errorf("%s: %v is told of what it does not select", globalKinds[k].resource, got)
		}
	}
	// From one selector to the other: nothing is lost, but that is not known here.
	if got := send(t.Context(), i.handler(&globalKinds[0]), node("a", "tier=gold"), node("a", "tier=silver")); !slices.Contains(got, "sre"+atOnce) {
		t.Errorf("told %v", got)
	}
}

// reconcileGlobal reconciles the GlobalProxySettings sre.
func (c *fakeCluster) reconcileGlobal(tb testing.TB) (ctrl.Result, error) {
	tb.Helper()
	r := &globalReconciler{client: c, compiler: compiler{reader: c, store: store{c}, interests: newInterests()}}
	return r.Reconcile(tb.Context(), requestFor("sre"))
}

func TestGlobalProxySettingsAreReportedOn(t *testing.T) {
	const (
		granted  = `{apiGroups: [""], resources: [nodes], selector: {matchLabels: {tier: gold}}}`
		pods     = `{apiGroups: [""], resources: [pods], selector: {matchLabels: {tier: gold}}}`
		nothing  = `{apiGroups: [""], resources: [nodes], selector: {}}`
		served   = "Unsupported False Served 3"
		unserved = "Unsupported True NotServed 3"
	)
	for name, test := range map[string]struct {
		resources string
		refusal   error
		want      []string
		// wantMessage is part of the messages.
		wantMessage string
	}{
		"granted":     {resources: granted, want: []string{"Ready True Succeeded 3", served}, wantMessage: "granted"},
		"not served":  {resources: granted + ", " + pods, want: []string{"Ready False Unsupported 3", unserved}, wantMessage: `"pods" in the API group ""`},
		"invalid":     {resources: nothing, want: []string{"Ready False InvalidField 3", served}, wantMessage: "spec.rules[0].clusterResources[0].selector"},
		"not written": {resources: granted, refusal: errors.New("no answer"), want: []string{"Ready False Failed 3", served}, wantMessage: "no answer"},
		"an endless error": {
			resources: granted, refusal: errors.New(strings.Repeat("no answer ", 10000)), want: []string{"Ready False Failed 3", served}, wantMessage: "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, global(t, `[{subjects: [{kind: User, name: bob}], clusterResources: [`+test.resources+`]}]`), node("a", "tier=gold"))
			c.refuse = func(write string) error {
				if strings.HasPrefix(write, "apply") {
					return test.refusal
				}
				return nil
			}
			for range 2 {
				result, err := c.reconcileGlobal(t)
				if !errors.Is(err, test.refusal) {
					t.Errorf("got error %v, want %v", err, test.refusal)
				}
				if err == nil && result.RequeueAfter != verifyInterval {
					t.Errorf("result %v", result)
				}
			}
			if patches := slices.DeleteFunc(c.written(), func(write string) bool { return !strings.HasPrefix(write, "patch") }); len(patches) != 1 {
				t.Errorf("status was written %d times", len(patches))
			}
			var s capsulev1beta1.GlobalProxySettings
			must(t, c.Get(t.Context(), client.ObjectKey{Name: "sre"}, &s))
			var got, messages []string
			for _, condition := range s.Status.Conditions {
				got = append(got, fmt.Sprintf("%s %s %s %d", condition.Type, condition.Status, condition.Reason, condition.ObservedGeneration))
				messages = append(messages, condition.Message)
				if len(condition.Message) > 32768 {
					t.Errorf("the API server refuses a message of %d bytes", len(condition.Message))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if !strings.Contains(strings.Join(messages, " "), test.wantMessage) {
				t.Errorf("%q does not say %q", messages, test.wantMessage)
			}
			if s.Status.ObservedGeneration != 3 {
				t.Errorf("observed generation %d", s.Status.ObservedGeneration)
			}
		})
	}
}

func TestGlobalProxySettingsThatGo(t *testing.T) {
	c := newCluster(t, global(t, `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [nodes], selector: {matchLabels: {tier: gold}}}]}]`),
		node("a", "tier=gold"), goldOwners(t, "alice"))
	must(t, c.compileTenant(t, goldOwners(t, "alice")))
	_, err := c.reconcileGlobal(t)
	must(t, err)
	if got := len(c.compiled(t)); got != 8 {
		t.Errorf("%d objects, want four for the Tenant and four for the GlobalProxySettings", got)
	}
	must(t, c.Client.DeleteAllOf(t.Context(), &capsulev1beta1.GlobalProxySettings{}))
	_, err = c.reconcileGlobal(t)
	must(t, err)
	if diff := cmp.Diff(nodesFor("a", "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("without them (-want +got):\n%s", diff)
	}
	c.refuse = func(string) error {
		return apierrors.NewConflict(rbacv1.Resource("clusterroles"), "", errors.New("changed"))
	}
	must(t, c.Create(t.Context(), global(t, `[{subjects: [{kind: User, name: bob}], clusterResources: [{apiGroups: [""], resources: [nodes], selector: {matchLabels: {tier: gold}}}]}]`)))
	result, err := c.reconcileGlobal(t)
	must(t, err)
	if diff := cmp.Diff(ctrl.Result{RequeueAfter: conflictDelay}, result); diff != "" {
		t.Errorf("result of a conflict (-want +got):\n%s", diff)
	}
}
