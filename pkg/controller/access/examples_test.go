// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// example reads manifests: the Tenants of the storage version, and everything else
// as objects.
func example(tb testing.TB, files ...string) ([]*capsulev1beta2.Tenant, []capsulev1beta2.ProxySubject, map[*kind][]metav1.ObjectMeta) {
	tb.Helper()
	var tenants []*capsulev1beta2.Tenant
	var subjects []capsulev1beta2.ProxySubject
	objects := map[*kind][]metav1.ObjectMeta{}
	for _, file := range files {
		text, err := fs.ReadFile(os.DirFS("../../../artifacts/examples"), file)
		must(tb, err)
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var object metav1.PartialObjectMetadata
			must(tb, yaml.Unmarshal([]byte(document), &object))
			switch object.Kind {
			case "Tenant":
				t := &capsulev1beta2.Tenant{}
				must(tb, yaml.UnmarshalStrict([]byte(document), t))
				t.UID = "1"
				tenants = append(tenants, t)
			case "ProxySetting":
				var s capsulev1beta1.ProxySetting
				must(tb, yaml.UnmarshalStrict([]byte(document), &s))
				subjects = append(subjects, s.Spec.Subjects...)
			default:
				known := false
				for i := range kinds {
					gvk := kinds[i].object().GetObjectKind().GroupVersionKind()
					if gvk.Kind == object.Kind || object.Kind == "PersistentVolume" && kinds[i].resource == "persistentvolumes" {
						objects[&kinds[i]] = append(objects[&kinds[i]], object.ObjectMeta)
						known = true
					}
				}
				if !known {
					tb.Fatalf("%s: there is no kind of %s", file, object.Kind)
				}
			}
		}
	}
	return tenants, subjects, objects
}

// TestExamples compiles the manifests that the project is for.
func TestExamples(t *testing.T) {
	const classes = "storageclasses.yaml ingressclasses.yaml priorityclasses.yaml runtimeclasses.yaml nodes.yaml persistentvolumes.yaml"
	get := "get tenants.capsule.clastix.io: "
	for name, test := range map[string]struct {
		// tenants is the file with the Tenants, others are those with objects.
		tenants, others string
		want            map[string][]string
	}{
		"nodes": {
			tenants: "nodes.yaml",
			want: mixed(bound("capsule:tenant:oil:3", []string{
				"get,list,watch nodes: capsule-gold-qwerty", get + "oil", "get nodes.metrics.k8s.io: capsule-gold-qwerty",
			}, "User alice"), leases("capsule:tenant:oil:3", "capsule-gold-qwerty", "User alice")),
		},
		"storageclasses": {
			tenants: "storageclasses.yaml",
			want:    bound("capsule:tenant:oil:81", []string{get + "oil", "get,list,watch storageclasses.storage.k8s.io: cephfs,custom,glusterfs"}, "User alice"),
		},
		"ingressclasses": {
			tenants: "ingressclasses.yaml",
			want:    bound("capsule:tenant:oil:401", []string{get + "oil", "get,list,watch ingressclasses.networking.k8s.io: custom,external-lb,internal-lb"}, "User alice"),
		},
		"priorityclasses": {
			tenants: "priorityclasses.yaml",
			want:    bound("capsule:tenant:oil:2001", []string{get + "oil", "get,list,watch priorityclasses.scheduling.k8s.io: custom,maxpriority,minpriority"}, "User alice"),
		},
		"runtimeclasses": {
			tenants: "runtimeclasses.yaml",
			want:    bound("capsule:tenant:oil:10001", []string{get + "oil", "get,list,watch runtimeclasses.node.k8s.io: bronze,silver"}, "User alice"),
		},
		"persistentvolumes": {
			tenants: "persistentvolumes.yaml",
			want:    bound("capsule:tenant:oil:11", []string{"get,list,watch persistentvolumes: data-01", get + "oil"}, "User alice"),
		},
		"without limits": {
			tenants: "tenant-without-limits.yaml", others: "ingressclasses.yaml",
			want: bound("capsule:tenant:my-tenant:401", []string{get + "my-tenant", "get,list,watch ingressclasses.networking.k8s.io: EVERYTHING"}, "User alice"),
		},
		"all at once": {
			tenants: "oil.yaml", others: classes,
			want: mixed(bound("capsule:tenant:oil:12493", []string{
				"get,list,watch nodes: capsule-gold-qwerty",
				"get,list,watch persistentvolumes: data-01",
				get + "oil",
				"get nodes.metrics.k8s.io: capsule-gold-qwerty",
				"get,list,watch ingressclasses.networking.k8s.io: custom,external-lb,internal-lb",
				"get,list,watch runtimeclasses.node.k8s.io: bronze,silver",
				"get,list,watch priorityclasses.scheduling.k8s.io: custom,maxpriority,minpriority",
				"get,list,watch storageclasses.storage.k8s.io: cephfs,custom,glusterfs",
			}, "User alice"), leases("capsule:tenant:oil:12493", "capsule-gold-qwerty", "User alice")),
		},
		"a group that is a GUID": {
			tenants: "tenant-networkpolicy.yaml",
			want:    bound("capsule:tenant:dev:1", []string{get + "dev"}, "Group 0fd5e5bb-39bb-468c-b343-dcdfb01e92d0"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			tenants, _, _ := example(t, test.tenants)
			_, _, objects := example(t, append(strings.Fields(test.others), test.tenants)...)
			got := map[string][]string{}
			for _, tenant := range tenants {
				w := world{tenant: tenant, objects: objects, policy: policy{writeOperations: true}}
				got = mixed(got, describeUnits(w.wanted(nil, maxNames)))
				if _, errs := w.policy.tenantGroups(tenant, ownersIn(tenant), nil); len(errs) > 0 {
					t.Errorf("errors %v", errs)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("compiled (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExampleOfAProxySetting: bob sees of solar what alice does, and nothing else.
func TestExampleOfAProxySetting(t *testing.T) {
	tenants, subjects, _ := example(t, "tenants-alice.yaml", "proxysetting.yaml")
	_, _, objects := example(t, "storageclasses.yaml", "ingressclasses.yaml", "priorityclasses.yaml", "nodes.yaml")
	compiled := map[string][]string{}
	for _, tenant := range tenants {
		w := world{tenant: tenant, objects: objects, policy: policy{writeOperations: true}}
		if tenant.Name == "solar" {
			w.settings = subjects
		}
		compiled = mixed(compiled, describeUnits(w.wanted(nil, maxNames)))
	}
	const alices, bobs = "capsule:tenant:solar:2483", "capsule:tenant:solar:2482"
	nodes := "get,list,watch nodes: capsule-gold-qwerty"
	others := []string{
		"get nodes.metrics.k8s.io: capsule-gold-qwerty",
		"get,list,watch ingressclasses.networking.k8s.io: custom,external-lb,internal-lb",
		"get,list,watch priorityclasses.scheduling.k8s.io: custom,maxpriority,minpriority",
		"get,list,watch storageclasses.storage.k8s.io: cephfs,custom,glusterfs",
	}
	want := mixed(
		bound(alices, append([]string{nodes, "get tenants.capsule.clastix.io: solar"}, others...), "User alice"),
		leases(alices, "capsule-gold-qwerty", "User alice"),
		bound(bobs, append([]string{nodes}, others...), "User bob"),
		leases(bobs, "capsule-gold-qwerty", "User bob"),
		bound("capsule:tenant:oil:1", []string{"get tenants.capsule.clastix.io: oil"}, "User alice"),
		bound("capsule:tenant:gas:1", []string{"get tenants.capsule.clastix.io: gas"}, "User alice"))
	if diff := cmp.Diff(want, compiled); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
}
