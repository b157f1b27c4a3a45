// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// bound returns a role and its binding as they are described.
func bound(name string, rules []string, subjects ...string) map[string][]string {
	return map[string][]string{
		"ClusterRole " + name:        rules,
		"ClusterRoleBinding " + name: append([]string{"to ClusterRole " + name}, subjects...),
	}
}

// leases returns what goes with the names of nodes.
func leases(name, nodes string, subjects ...string) map[string][]string {
	name = "kube-node-lease/" + name
	return map[string][]string{
		"Role " + name:        {"get leases.coordination.k8s.io: " + nodes},
		"RoleBinding " + name: append([]string{"to Role " + name[len("kube-node-lease/"):]}, subjects...),
	}
}

func TestCompile(t *testing.T) {
	for name, test := range map[string]struct {
		tenant   string
		sources  tenant.Sources
		settings string
		objects  string
		readOnly bool
		want     map[string][]string
		// wantErrs are the fields that cannot be understood.
		wantErrs []string
	}{
		"nobody": {want: map[string][]string{}},
		"an owner may get its own Tenant, and nothing else": {
			tenant:  `{owners: [{kind: User, name: alice}]}`,
			objects: `{nodes: {a: {}}, storageclasses: {a: {}}, persistentvolumes: {a: {capsule.clastix.io/tenant: oil}}}`,
			want:    bound("capsule:tenant:oil:1", []string{getOil}, "User alice"),
		},
		"List of the Tenant": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Tenant, operations: [List]}]}]}`,
			want:   bound("capsule:tenant:oil:80001", []string{"get,list,watch tenants.capsule.clastix.io: oil"}, "User alice"),
		},
		"Update and Delete of the Tenant are never compiled": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: Tenant, operations: [Update, Delete]}]}]}`,
			want:   bound("capsule:tenant:oil:1", []string{getOil}, "User alice"),
		},
		"List is get, list and watch": {
			tenant:  `{storageClasses: {allowed: [custom]}, owners: [{kind: User, name: alice, proxySettings: [{kind: StorageClasses, operations: [List]}]}]}`,
			objects: `{storageclasses: {custom: {}, other: {}}}`,
			want: bound("capsule:tenant:oil:81", []string{
				getOil, "get,list,watch storageclasses.storage.k8s.io: custom",
			}, "User alice"),
		},
		"Update is update and patch": {
			tenant:  `{storageClasses: {allowed: [custom]}, owners: [{kind: User, name: alice, proxySettings: [{kind: StorageClasses, operations: [Update]}]}]}`,
			objects: `{storageclasses: {custom: {}, other: {}}}`,
			want: bound("capsule:tenant:oil:101", []string{
				getOil, "patch,update storageclasses.storage.k8s.io: custom",
			}, "User alice"),
		},
		"Delete is delete": {
			tenant:  `{storageClasses: {allowed: [custom]}, owners: [{kind: User, name: alice, proxySettings: [{kind: StorageClasses, operations: [Delete]}]}]}`,
			objects: `{storageclasses: {custom: {}, other: {}}}`,
			want: bound("capsule:tenant:oil:201", []string{
				getOil, "delete storageclasses.storage.k8s.io: custom",
			}, "User alice"),
		},
		"all kinds and operations are in one role": {
			tenant: `
nodeSelector: {tier: gold}
storageClasses: {allowed: [s]}
ingressOptions: {allowedClasses: {allowed: [i]}}
priorityClasses: {allowed: [p]}
runtimeClasses: {allowed: [r]}
owners:
- kind: User
  name: alice
  proxySettings:
  - {kind: Nodes, operations: [List, Update, Delete]}
  - {kind: PersistentVolumes, operations: [List, Update, Delete]}
  - {kind: StorageClasses, operations: [List, Update, Delete]}
  - {kind: IngressClasses, operations: [List, Update, Delete]}
  - {kind: PriorityClasses, operations: [List, Update, Delete]}
  - {kind: RuntimeClasses, operations: [List, Update, Delete]}
  - {kind: Tenant, operations: [List, Update, Delete]}`,
			objects: `
nodes: {one: {tier: gold}, other: {}}
persistentvolumes: {v: {capsule.clastix.io/tenant: oil}, other: {}}
storageclasses: {s: {}, other: {}}
ingressclasses: {i: {}, other: {}}
priorityclasses: {p: {}, other: {}}
runtimeclasses: {r: {}, other: {}}`,
			want: mixed(bound("capsule:tenant:oil:fffff", []string{
				"delete,get,list,patch,update,watch nodes: one",
				"delete,get,list,patch,update,watch persistentvolumes: v",
				"get,list,watch tenants.capsule.clastix.io: oil",
				"get nodes.metrics.k8s.io: one",
				"delete,get,list,patch,update,watch ingressclasses.networking.k8s.io: i",
				"delete,get,list,patch,update,watch runtimeclasses.node.k8s.io: r",
				"delete,get,list,patch,update,watch priorityclasses.scheduling.k8s.io: p",
				"delete,get,list,patch,update,watch storageclasses.storage.k8s.io: s",
			}, "User alice"), leases("capsule:tenant:oil:fffff", "one", "User alice")),
		},
		"--compile-write-operations=false leaves out Update and Delete": {
			tenant: `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List, Update, Delete]},
				{kind: PersistentVolumes, operations: [Update, Delete]}]}]}`,
			objects:  `{nodes: {a: {tier: gold}}, persistentvolumes: {v: {capsule.clastix.io/tenant: oil}}}`,
			readOnly: true,
			want: mixed(bound("capsule:tenant:oil:3", []string{
				"get,list,watch nodes: a", getOil, "get nodes.metrics.k8s.io: a",
			}, "User alice"), leases("capsule:tenant:oil:3", "a", "User alice")),
		},
		"nodes by nodeSelector, with their usage and leases": {
			tenant:  `{nodeSelector: {tier: gold, zone: one}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			objects: `{nodes: {a: {tier: gold, zone: one}, b: {tier: gold}, c: {zone: one}, d: {tier: gold, zone: one, x: y}}}`,
			want: mixed(bound("capsule:tenant:oil:3", []string{
				"get,list,watch nodes: a,d", getOil, "get nodes.metrics.k8s.io: a,d",
			}, "User alice"), leases("capsule:tenant:oil:3", "a,d", "User alice")),
		},
		"without a nodeSelector all nodes, for List only": {
			tenant:  `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List, Update, Delete]}]}]}`,
			objects: `{nodes: {a: {}, b: {}}}`,
			want: mixed(bound("capsule:tenant:oil:f", []string{
				"get,list,watch nodes: EVERYTHING", getOil, "get nodes.metrics.k8s.io: EVERYTHING",
			}, "User alice"), leases("capsule:tenant:oil:f", "EVERYTHING", "User alice")),
		},
		"with an empty nodeSelector all nodes": {
			tenant: `{nodeSelector: {}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			want: mixed(bound("capsule:tenant:oil:3", []string{
				"get,list,watch nodes: EVERYTHING", getOil, "get nodes.metrics.k8s.io: EVERYTHING",
			}, "User alice"), leases("capsule:tenant:oil:3", "EVERYTHING", "User alice")),
		},
		"Update and Delete of all nodes are never compiled": {
			tenant:  `{owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [Update, Delete]}]}]}`,
			objects: `{nodes: {a: {}}}`,
			want:    bound("capsule:tenant:oil:d", []string{getOil}, "User alice"),
		},
		"Update of nodes shows neither usage nor leases": {
			tenant:  `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [Update]}]}]}`,
			objects: `{nodes: {a: {tier: gold}}}`,
			want:    bound("capsule:tenant:oil:5", []string{"patch,update nodes: a", getOil}, "User alice"),
		},
		"no node matches: no rule": {
			tenant:  `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List, Update, Delete]}]}]}`,
			objects: `{nodes: {a: {}, b: {tier: silver}}}`,
			want:    bound("capsule:tenant:oil:f", []string{getOil}, "User alice"),
		},
		"a nodeSelector that cannot be understood selects nothing": {
			tenant:   `{nodeSelector: {tier: "not a value"}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
			objects:  `{nodes: {a: {}}}`,
			want:     bound("capsule:tenant:oil:3", []string{getOil}, "User alice"),
			wantErrs: []string{"spec.nodeSelector"},
		},
		"volumes by label": {
			tenant:  `{owners: [{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}]}]}`,
			objects: `{persistentvolumes: {a: {capsule.clastix.io/tenant: oil}, b: {capsule.clastix.io/tenant: gas}, c: {}, d: {capsule.clastix.io/tenant: ""}}}`,
			want:    bound("capsule:tenant:oil:11", []string{"get,list,watch persistentvolumes: a", getOil}, "User alice"),
		},
		"no volume matches: no rule": {
			tenant:  `{owners: [{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List, Update, Delete]}]}]}`,
			objects: `{persistentvolumes: {b: {capsule.clastix.io/tenant: gas}}}`,
			want:    bound("capsule:tenant:oil:71", []string{getOil}, "User alice"),
		},
		"owners with the same rights share a role": {
			tenant: `
owners:
- {kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}, {kind: RuntimeClasses, operations: [List]}]}
- {kind: Group, name: devs, proxySettings: [{kind: RuntimeClasses, operations: [List]}, {kind: PersistentVolumes, operations: [List, List]}]}
- {kind: ServiceAccount, name: "system:serviceaccount:ci:robot", proxySettings: [{kind: RuntimeClasses, operations: [List]}, {kind: PersistentVolumes, operations: [List]}]}`,
			want: bound("capsule:tenant:oil:10011", []string{
				getOil, "get,list,watch runtimeclasses.node.k8s.io: EVERYTHING",
			}, "Group devs", "ServiceAccount ci:robot", "User alice"),
		},
		"owners with other rights have a role of their own": {
			tenant: `
owners:
- {kind: User, name: alice, proxySettings: [{kind: RuntimeClasses, operations: [List]}]}
- {kind: User, name: carol}`,
			want: mixed(
				bound("capsule:tenant:oil:10001", []string{getOil, "get,list,watch runtimeclasses.node.k8s.io: EVERYTHING"}, "User alice"),
				bound("capsule:tenant:oil:1", []string{getOil}, "User carol")),
		},
		"a ProxySetting gives what owners hold, of what is the Tenant's": {
			tenant:   `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}, {kind: RuntimeClasses, operations: [List]}]}]}`,
			settings: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List, Delete]}, {kind: StorageClasses, operations: [List]}]}]`,
			objects:  `{nodes: {a: {tier: gold}, b: {}}}`,
			want: mixed(
				bound("capsule:tenant:oil:10003", []string{
					"get,list,watch nodes: a", getOil, "get nodes.metrics.k8s.io: a", "get,list,watch runtimeclasses.node.k8s.io: EVERYTHING",
				}, "User alice"),
				leases("capsule:tenant:oil:10003", "a", "User alice"),
				bound("capsule:tenant:oil:2", []string{"get,list,watch nodes: a", "get nodes.metrics.k8s.io: a"}, "User bob"),
				leases("capsule:tenant:oil:2", "a", "User bob")),
		},
		"other owners may get the Tenant, and have nobody's proxySettings": {
			tenant:  `{owners: [{kind: User, name: alice, proxySettings: [{kind: PriorityClasses, operations: [List]}]}]}`,
			sources: tenant.Sources{TenantOwners: []*capsulev1beta2.TenantOwner{ownerOfOil("bob"), ownerOfOil("alice")}},
			want: mixed(
				bound("capsule:tenant:oil:1", []string{getOil}, "User bob"),
				bound("capsule:tenant:oil:2001", []string{getOil, "get,list,watch priorityclasses.scheduling.k8s.io: EVERYTHING"}, "User alice")),
		},
		"more sets of rights than rights: a role for each right": {
			tenant: `{owners: [{kind: User, name: alice, proxySettings: [{kind: PriorityClasses, operations: [List]}, {kind: RuntimeClasses, operations: [List]}]}]}`,
			settings: `
- {kind: User, name: bob, proxySettings: [{kind: PriorityClasses, operations: [List]}, {kind: RuntimeClasses, operations: [List]}]}
- {kind: User, name: carol, proxySettings: [{kind: PriorityClasses, operations: [List]}]}
- {kind: User, name: dave, proxySettings: [{kind: RuntimeClasses, operations: [List]}]}`,
			want: mixed(
				bound("capsule:tenant:oil:1", []string{getOil}, "User alice"),
				bound("capsule:tenant:oil:2000", []string{"get,list,watch priorityclasses.scheduling.k8s.io: EVERYTHING"}, "User alice", "User bob", "User carol"),
				bound("capsule:tenant:oil:10000", []string{"get,list,watch runtimeclasses.node.k8s.io: EVERYTHING"}, "User alice", "User bob", "User dave")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{
				tenant: tenantSpec(t, test.tenant), settings: proxySubjects(t, test.settings), objects: objectsByKind(t, test.objects),
				policy: policy{writeOperations: !test.readOnly}, sources: test.sources,
			}
			if diff := cmp.Diff(test.want, describeUnits(w.wanted(nil, maxNames))); diff != "" {
				t.Errorf("roles and bindings (-want +got):\n%s", diff)
			}
			_, errs := w.policy.tenantGroups(w.tenant, w.owners(), w.settings)
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

// TestCompileClasses gives every kind of classes the same lists.
func TestCompileClasses(t *testing.T) {
	const objects = `{custom: {}, cephfs: {tier: gold}, zfs-local: {tier: bronze}, standard: {}}`
	lists := map[string]struct {
		list string
		// want is what List, Update and Delete select; everything is for List only.
		want string
		// wantErr is what of the list cannot be understood.
		wantErr string
	}{
		"no list is everything":         {list: `null`, want: "EVERYTHING"},
		"an empty list is nothing":      {list: `{}`},
		"an empty selector is nothing":  {list: `{matchLabels: {}, matchExpressions: []}`},
		"names":                         {list: `{allowed: [custom, absent]}`, want: "custom"},
		"names that nothing has":        {list: `{allowed: [absent]}`},
		"the regex is not anchored":     {list: `{allowedRegex: "\\wfs"}`, want: "cephfs,zfs-local"},
		"an anchored regex":             {list: `{allowedRegex: "^\\w+fs$"}`, want: "cephfs"},
		"the default":                   {list: `{default: standard}`, want: "standard"},
		"labels":                        {list: `{matchLabels: {tier: gold}}`, want: "cephfs"},
		"expressions":                   {list: `{matchExpressions: [{key: tier, operator: In, values: [gold, bronze]}]}`, want: "cephfs,zfs-local"},
		"the union":                     {list: `{allowed: [custom], allowedRegex: "^zfs", default: standard, matchLabels: {tier: gold}}`, want: "cephfs,custom,standard,zfs-local"},
		"Exists with values is read In": {list: `{matchExpressions: [{key: tier, operator: Exists, values: [bronze]}]}`, want: "zfs-local"},
		"a bad regex is nothing":        {list: `{allowedRegex: "("}`, wantErr: ".allowedRegex"},
		"a bad regex, and the rest":     {list: `{allowedRegex: "(", allowed: [custom], matchLabels: {tier: gold}}`, want: "cephfs,custom", wantErr: ".allowedRegex"},
		"a bad selector is nothing":     {list: `{matchExpressions: [{key: tier, operator: In, values: []}]}`, wantErr: "."},
		"a bad selector, and the rest":  {list: `{matchExpressions: [{key: tier, operator: Likes, values: [gold]}], matchLabels: {tier: gold}, default: standard}`, want: "standard", wantErr: "."},
	}
	for _, class := range []struct{ service, resource, group, field, spec string }{
		{"StorageClasses", "storageclasses", "storage.k8s.io", "spec.storageClasses", `{storageClasses: %s`},
		{"IngressClasses", "ingressclasses", "networking.k8s.io", "spec.ingressOptions.allowedClasses", `{ingressOptions: {allowedClasses: %s}`},
		{"PriorityClasses", "priorityclasses", "scheduling.k8s.io", "spec.priorityClasses", `{priorityClasses: %s`},
		{"RuntimeClasses", "runtimeclasses", "node.k8s.io", "spec.runtimeClasses", `{runtimeClasses: %s`},
	} {
		for name, test := range lists {
			t.Run(class.service+"/"+name, func(t *testing.T) {
				oil := tenantSpec(t, fmt.Sprintf(class.spec, test.list)+fmt.Sprintf(
					`, owners: [{kind: User, name: alice, proxySettings: [{kind: %s, operations: [List, Update, Delete]}]}]}`, class.service))
				w := world{tenant: oil, objects: objectsByKind(t, fmt.Sprintf(`{%s: %s}`, class.resource, objects)), policy: policy{writeOperations: true}}
				var want []string
				switch resource := class.resource + "." + class.group; test.want {
				case "":
				case "EVERYTHING":
					want = []string{"get,list,watch " + resource + ": EVERYTHING"}
				default:
					want = []string{"delete,get,list,patch,update,watch " + resource + ": " + test.want}
				}
				var got []string
				for _, u := range w.wanted(nil, maxNames) {
					got = append(got, describeRules(u.grants.rules())...)
				}
				// The Tenant itself is not what this is about.
				got = slices.DeleteFunc(got, func(rule string) bool { return rule == "get tenants.capsule.clastix.io: oil" })
				if diff := cmp.Diff(want, got, cmp.Transformer("none", func(l []string) []string { return append([]string{}, l...) })); diff != "" {
					t.Errorf("rules (-want +got):\n%s", diff)
				}
				_, errs := w.policy.tenantGroups(oil, ownersIn(oil), nil)
				var wantErrs, gotErrs []string
				if test.wantErr != "" {
					wantErrs = []string{class.field + test.wantErr}
					if test.wantErr == "." {
						wantErrs = []string{class.field}
					}
				}
				for _, err := range errs {
					gotErrs = append(gotErrs, err.Field)
				}
				if diff := cmp.Diff(wantErrs, gotErrs); diff != "" {
					t.Errorf("errors (-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("no ingressOptions are everything", func(t *testing.T) {
		oil := tenantSpec(t, `{owners: [{kind: User, name: alice, proxySettings: [{kind: IngressClasses, operations: [List]}]}]}`)
		want := []string{"get tenants.capsule.clastix.io: oil", "get,list,watch ingressclasses.networking.k8s.io: EVERYTHING"}
		for _, u := range (world{tenant: oil}).wanted(nil, maxNames) {
			if diff := cmp.Diff(want, describeRules(u.grants.rules())); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		}
	})
}

// expected returns what the manifests of a world say that subjects hold, straight
// from the design and by other means than the compiler's.
func (w world) expected() sets.Set[held] {
	all := sets.New[held]()
	give := func(u capsulev1beta2.UserSpec, service capsulev1beta2.ProxyServiceKind, operation capsulev1beta2.ProxyOperation) {
		subject, err := tenant.Subject(u)
		if err != nil {
			return
		}
		verbs := map[capsulev1beta2.ProxyOperation][]string{"List": {"get", "list", "watch"}, "Update": {"update", "patch"}, "Delete": {"delete"}}[operation]
		add := func(namespace, group, resource string, verbs []string, name string) {
			for _, verb := range verbs {
				all.Insert(held{subject, namespace, permission{group, resource, verb}, name})
			}
		}
		if operation != "List" && (!w.policy.writeOperations || service == "Tenant") {
			return
		}
		if service == "Tenant" {
			add("", "capsule.clastix.io", "tenants", verbs, "oil")
			return
		}
		of := map[capsulev1beta2.ProxyServiceKind][2]string{
			"Nodes": {"", "nodes"}, "PersistentVolumes": {"", "persistentvolumes"}, "StorageClasses": {"storage.k8s.io", "storageclasses"},
			"IngressClasses": {"networking.k8s.io", "ingressclasses"}, "PriorityClasses": {"scheduling.k8s.io", "priorityclasses"},
			"RuntimeClasses": {"node.k8s.io", "runtimeclasses"},
		}[service]
		for _, name := range w.selected(service) {
			if name == "*" && operation != "List" {
				continue
			}
			add("", of[0], of[1], verbs, name)
			if service == "Nodes" && operation == "List" {
				add("", "metrics.k8s.io", "nodes", []string{"get"}, name)
				add("kube-node-lease", "coordination.k8s.io", "leases", []string{"get"}, name)
			}
		}
	}
	type asked struct {
		service   capsulev1beta2.ProxyServiceKind
		operation capsulev1beta2.ProxyOperation
	}
	getTenant := func(u capsulev1beta2.UserSpec) {
		if subject, err := tenant.Subject(u); err == nil {
			all.Insert(held{subject, "", permission{"capsule.clastix.io", "tenants", "get"}, "oil"})
		}
	}
	for _, o := range w.sources.TenantOwners {
		if o.Labels["projectcapsule.dev/tenant"] == "oil" {
			getTenant(o.Spec.UserSpec)
		}
	}
	if w.sources.Config != nil {
		for _, u := range w.sources.Config.Administrators {
			getTenant(u)
		}
	}
	owners := sets.New[asked]()
	for _, o := range w.tenant.Spec.Owners {
		getTenant(o.UserSpec)
		for _, s := range o.ProxySettings {
			for _, operation := range s.Operations {
				owners.Insert(asked{s.Kind, operation})
				give(o.UserSpec, s.Kind, operation)
			}
		}
	}
	for _, subject := range w.settings {
		for _, s := range subject.ProxySettings {
			for _, operation := range s.Operations {
				if owners.Has(asked{s.Kind, operation}) {
					give(subject.UserSpec, s.Kind, operation)
				}
			}
		}
	}
	return all
}

// selected returns the names of the Tenant's objects of a kind, * for every one.
func (w world) selected(service capsulev1beta2.ProxyServiceKind) []string {
	var all []metav1.ObjectMeta
	for k, list := range w.objects {
		if k.service == service {
			all = list
		}
	}
	carries := func(object metav1.ObjectMeta, labels map[string]string) bool {
		for key, value := range labels {
			if object.Labels[key] != value {
				return false
			}
		}
		return true
	}
	var is func(object metav1.ObjectMeta) bool
	spec := w.tenant.Spec
	lists := map[capsulev1beta2.ProxyServiceKind]*capsulev1beta2.DefaultAllowedList{"StorageClasses": spec.StorageClasses, "PriorityClasses": spec.PriorityClasses}
	switch list := lists[service]; {
	case service == "PersistentVolumes":
		is = func(object metav1.ObjectMeta) bool { return object.Labels["capsule.clastix.io/tenant"] == "oil" }
	case service == "Nodes" && len(spec.NodeSelector) > 0:
		is = func(object metav1.ObjectMeta) bool { return carries(object, spec.NodeSelector) }
	case list != nil:
		is = func(object metav1.ObjectMeta) bool {
			regex, err := regexp.Compile(list.AllowedRegex)
			return slices.Contains(list.Allowed, object.Name) || object.Name == list.Default ||
				list.AllowedRegex != "" && err == nil && regex.MatchString(object.Name) ||
				len(list.MatchLabels) > 0 && carries(object, list.MatchLabels)
		}
	default:
		return []string{"*"}
	}
	var names []string
	for _, object := range all {
		if is(object) {
			names = append(names, object.Name)
		}
	}
	return names
}

// TestCompileGivesWhatTenantsSay compares what is compiled of any world with what
// its manifests say.
func TestCompileGivesWhatTenantsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		wanted := w.wanted(nil, rapid.SampledFrom([]int{1, 3, maxNames}).Draw(t, "limit"))
		got, want := clusterOf(wanted).held(), w.expected()
		if more := beyond(got, want); len(more) > 0 {
			t.Errorf("given, and nothing says so: %v", more)
		}
		if less := beyond(want, got); len(less) > 0 {
			t.Errorf("not given: %v", less)
		}
		for at, u := range wanted {
			for _, rule := range u.grants.rules() {
				if len(rule.ResourceNames) > 0 {
					continue
				}
				for _, verb := range rule.Verbs {
					if !slices.Contains([]string{"get", "list", "watch"}, verb) {
						t.Errorf("%s of everything by %s", verb, at.name)
					}
				}
			}
		}
	})
}

// TestBindingsOfATenantAreBounded has ProxySettings ask for as many different things
// as they can.
func TestBindingsOfATenantAreBounded(t *testing.T) {
	oil := tenantSpec(t, `{owners: [{kind: User, name: alice, proxySettings: [
		{kind: Nodes, operations: [List, Update, Delete]}, {kind: PersistentVolumes, operations: [List, Update, Delete]}]}]}`)
	var settings []capsulev1beta2.ProxySubject
	held := policy{writeOperations: true}.held(oil)
	// The first bit is not among those of ProxySettings.
	for r := rights(2); r <= held; r += 2 {
		s := capsulev1beta2.ProxySubject{UserSpec: capsulev1beta2.UserSpec{Kind: "User", Name: strconv.Itoa(int(r))}}
		for _, service := range services {
			for _, operation := range operations {
				if r.has(service, operation) {
					s.ProxySettings = append(s.ProxySettings, capsulev1beta2.ProxyOperations{Kind: service, Operations: []capsulev1beta2.ProxyOperation{operation}})
				}
			}
		}
		settings = append(settings, s)
	}
	w := world{tenant: oil, settings: settings, policy: policy{writeOperations: true}}
	units := w.wanted(nil, maxNames)
	clusterWide := 0
	for at := range units {
		if at.namespace == "" {
			clusterWide++
		}
	}
	if want := bits.OnesCount32(uint32(held | getTenant)); clusterWide != want {
		t.Errorf("%d ClusterRoleBindings, want one for each of the %d rights", clusterWide, want)
	}
	if got, want := everybody(units).Len(), len(settings)+1; got != want {
		t.Errorf("%d subjects, want %d", got, want)
	}
	if more := beyond(clusterOf(units).held(), w.expected()); len(more) > 0 {
		t.Errorf("given, and nothing says so: %v", more[0])
	}
	if less := beyond(w.expected(), clusterOf(units).held()); len(less) > 0 {
		t.Errorf("not given: %v", less[0])
	}
}

func TestANameOfARoleStandsForTheSameRights(t *testing.T) {
	// Whatever else the Tenants say, and whatever objects there are.
	for _, spec := range []string{
		`{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
		`{owners: [{kind: Group, name: devs, proxySettings: [{kind: Nodes, operations: [List]}]}]}`,
		`{storageClasses: {}, owners: [{kind: User, name: x}, {kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List, List]}]}]}`,
	} {
		groups, _ := policy{}.tenantGroups(tenantSpec(t, spec), ownersIn(tenantSpec(t, spec)), nil)
		if got := groups[len(groups)-1].name; got != "capsule:tenant:oil:3" {
			t.Errorf("%s is compiled to %s", spec, got)
		}
	}
}

// many returns the names of n volumes of oil.
func many(n int) map[*kind][]metav1.ObjectMeta {
	volumes := make([]metav1.ObjectMeta, 0, n)
	for i := range n {
		volumes = append(volumes, metav1.ObjectMeta{Name: fmt.Sprintf("pv-%04d", i), Labels: map[string]string{"capsule.clastix.io/tenant": "oil"}})
	}
	return map[*kind][]metav1.ObjectMeta{&kinds[1]: volumes}
}

func TestRolesAreSplitAbove1000Names(t *testing.T) {
	w := world{tenant: tenantSpec(t, `{owners: [{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}]}]}`)}
	sizes := func(n int) map[string]int {
		w.objects = many(n)
		got := map[string]int{}
		for at, u := range w.wanted(nil, maxNames) {
			got[at.name] = u.grants[permission{"", "persistentvolumes", "get"}].set.Len()
		}
		return got
	}
	for n, want := range map[int]map[string]int{
		0:    {"capsule:tenant:oil:11": 0},
		1000: {"capsule:tenant:oil:11": 1000},
		1001: {"capsule:tenant:oil:11": 1000, "capsule:tenant:oil:11.1": 1},
		2500: {"capsule:tenant:oil:11": 1000, "capsule:tenant:oil:11.1": 1000, "capsule:tenant:oil:11.2": 500},
	} {
		if diff := cmp.Diff(want, sizes(n)); diff != "" {
			t.Errorf("%d names (-want +got):\n%s", n, diff)
		}
	}
}

func TestSplitRoles(t *testing.T) {
	oil := tenantSpec(t, `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]}`)
	const (
		first, second = "capsule:tenant:oil:3", "capsule:tenant:oil:3.1"
		getOil        = "get tenants.capsule.clastix.io: oil"
	)
	rules := func(nodes string) []string {
		return []string{"get,list,watch nodes: " + nodes, "get nodes.metrics.k8s.io: " + nodes}
	}
	rulesAndTenant := func(nodes string) []string {
		return []string{"get,list,watch nodes: " + nodes, getOil, "get nodes.metrics.k8s.io: " + nodes}
	}
	present := rbacState{}
	for _, step := range []struct {
		name, nodes string
		want        map[string][]string
	}{
		{
			name: "the second role takes what the first has no room for, companions in the same part", nodes: `{b: {tier: gold}, c: {tier: gold}, d: {tier: gold}}`,
			want: mixed(
				bound(first, rulesAndTenant("b,c"), "User alice"), leases(first, "b,c", "User alice"),
				bound(second, rules("d"), "User alice"), leases(second, "d", "User alice")),
		},
		{
			name: "names stay where they are, whatever comes before them", nodes: `{a: {tier: gold}, b: {tier: gold}, c: {tier: gold}, d: {tier: gold}}`,
			want: mixed(
				bound(first, rulesAndTenant("b,c"), "User alice"), leases(first, "b,c", "User alice"),
				bound(second, rules("a,d"), "User alice"), leases(second, "a,d", "User alice")),
		},
		{
			name: "and whatever goes; what comes takes its place", nodes: `{a: {tier: gold}, c: {tier: gold}, d: {tier: gold}, e: {tier: gold}}`,
			want: mixed(
				bound(first, rulesAndTenant("c,e"), "User alice"), leases(first, "c,e", "User alice"),
				bound(second, rules("a,d"), "User alice"), leases(second, "a,d", "User alice")),
		},
		{
			name: "a role without names goes, the first one stays", nodes: `{d: {tier: gold}}`,
			want: mixed(
				bound(first, []string{getOil}, "User alice"),
				bound(second, rules("d"), "User alice"), leases(second, "d", "User alice")),
		},
		{
			name: "nothing is left", nodes: `{}`,
			want: bound(first, []string{getOil}, "User alice"),
		},
	} {
		w := world{tenant: oil, objects: objectsByKind(t, "nodes: "+step.nodes)}
		wanted := w.wanted(present, 2)
		if diff := cmp.Diff(step.want, describeUnits(wanted)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		present = clusterOf(wanted)
	}
}

// TestANameKeepsItsPart has objects come and go.
func TestANameKeepsItsPart(t *testing.T) {
	oil := tenantSpec(t, `{owners: [{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}, {kind: StorageClasses, operations: [List]}]}],
		storageClasses: {allowedRegex: .}}`)
	const limit = 3
	rapid.Check(t, func(t *rapid.T) {
		present := rbacState{}
		before := map[held]place{}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			w := world{tenant: oil, objects: map[*kind][]metav1.ObjectMeta{}}
			want := 0
			for _, k := range []*kind{&kinds[1], &kinds[2]} {
				for _, name := range rapid.SliceOfNDistinct(drawName, 0, 6, rapid.ID).Draw(t, "names") {
					w.objects[k] = append(w.objects[k], metav1.ObjectMeta{Name: name, Labels: map[string]string{"capsule.clastix.io/tenant": "oil"}})
					want++
				}
			}
			wanted := w.wanted(present, limit)
			after := map[held]place{}
			for at, u := range wanted {
				inPart := 0
				for p, n := range u.grants {
					if p.verb != "list" {
						continue
					}
					for name := range n.set {
						key := held{permission: p, name: name}
						if was, ok := before[key]; ok && was != at {
							t.Errorf("%v moved from %s to %s", key, was.name, at.name)
						}
						if twice, ok := after[key]; ok {
							t.Errorf("%v is in %s and %s", key, twice.name, at.name)
						}
						after[key] = at
						inPart++
					}
				}
				if inPart > limit {
					t.Errorf("%d names in %s", inPart, at.name)
				}
				if inPart == 0 && at.name != "capsule:tenant:oil:91" {
					t.Errorf("%s is for nothing", at.name)
				}
			}
			if len(after) != want {
				t.Errorf("%d names, want %d", len(after), want)
			}
			present, before = clusterOf(wanted), after
		}
	})
}

func TestPartNumber(t *testing.T) {
	g := group{name: "capsule:tenant:oil:1"}
	for part := range 12 {
		got, ok := g.partNumber(place{name: g.part(part)})
		if !ok || got != part {
			t.Errorf("part %d is %s, which is part %d, %v", part, g.part(part), got, ok)
		}
	}
	for _, at := range []place{
		{name: "capsule:tenant:oil:10"}, {name: "capsule:tenant:oil:1.0"}, {name: "capsule:tenant:oil:1.-1"}, {name: "capsule:tenant:oil:1.x"},
		{name: "capsule:tenant:oil:1."}, {name: "capsule:tenant:oil"}, {name: "capsule:tenant:gas:1"},
		{namespace: "kube-node-lease", name: "capsule:tenant:oil:1"},
	} {
		if part, ok := g.partNumber(at); ok {
			t.Errorf("%v is part %d", at, part)
		}
	}
}

// TestPartsOfOthersDoNotCount has names in roles of another group, and in a role
// without names.
func TestPartsOfOthersDoNotCount(t *testing.T) {
	volumes := grants{}
	volumes.add("", "persistentvolumes", readVerbs, names{set: sets.New("a", "b")})
	everything := grants{}
	everything.add("", "persistentvolumes", readVerbs, names{all: true})
	g := group{name: "capsule:tenant:oil:1", requests: []request{{kind: &kinds[1]}}}
	present := map[place]state{
		{name: "capsule:tenant:oil:2"}:   {role: &volumes},
		{name: "capsule:tenant:oil:1"}:   {role: &everything},
		{name: "capsule:tenant:oil:1.1"}: {binding: sets.New[rbacv1.Subject]()},
	}
	if got := g.partsIn(present); len(got) > 0 {
		t.Errorf("parts of %v", slices.Collect(maps.Keys(got)))
	}
}
