// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

type object = map[string]any

// text is a raw item as it is written.
func text(item string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(item)} }

// source returns an ObjectSelector of ConfigMaps.
func source(namespace, name string) capsulev1beta2.ObjectSelector {
	return capsulev1beta2.ObjectSelector{APIVersion: "v1", Kind: "ConfigMap", Namespace: namespace, Name: name}
}

func selecting(namespace string, labels map[string]string) capsulev1beta2.ObjectSelector {
	s := source(namespace, "")
	s.Selector = &metav1.LabelSelector{MatchLabels: labels}
	return s
}

func generating(template string, context ...capsulev1beta2.ContextResource) capsulev1beta2.ReplicatedResources {
	r := capsulev1beta2.ReplicatedResources{Generators: []capsulev1beta2.ResourceGenerator{{Template: template}}}
	if context != nil {
		r.Context = &capsulev1beta2.TemplateContext{Resources: context}
	}
	return r
}

// TestPlan holds what a subject in oil-a wants in the namespace oil-b.
func TestPlan(t *testing.T) {
	managed := object{capsulev1beta2.ManagedByLabel: "replications"}
	wanted := func(name string, labels object, more object) object {
		all := object{}
		maps.Copy(all, managed)
		maps.Copy(all, labels)
		o := object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"namespace": "oil-b", "name": name, "labels": all}}
		maps.Copy(o, more)
		return o
	}
	given := append(oil(),
		configMap("oil-a", "one", map[string]string{"k": "1"}, "share", "yes", "team", "a"),
		configMap("oil-a", "two", map[string]string{"k": "2"}, "share", "yes", capsulev1beta2.ManagedByLabel, "x", capsulev1beta2.CreatedByLabel, "x"),
		configMap("oil-b", "one", map[string]string{"k": "3"}, "share", "yes"),
		configMap("gas-a", "theirs", nil), configMap("free", "nobodys", nil),
	)
	for name, test := range map[string]struct {
		resources []capsulev1beta2.ReplicatedResources
		want      []object
		// wantFailures are what is not known, wantErrs what cannot be, of each item.
		wantFailures, wantErrs []string
	}{
		"nothing": {resources: []capsulev1beta2.ReplicatedResources{{}}},
		"metadata that is not the writer's": {
			resources: rawItems(text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"kube-system","uid":"u","resourceVersion":"7",
				"managedFields":[{}],"generateName":"g","creationTimestamp":null,"finalizers":["a/b"],"labels":{"projectcapsule.dev/created-by":"x","tenancy.capsule.io/replicated-by":"x"}},"status":{"a":1},"data":{"n":"1"}}`)),
			want: []object{{
				"apiVersion": "v1", "kind": "ConfigMap", "data": object{"n": "1"},
				"metadata": object{"name": "x", "namespace": "oil-b", "labels": managed, "finalizers": []any{"a/b"}},
			}},
		},
		"additional metadata": {
			resources: []capsulev1beta2.ReplicatedResources{{
				RawItems:           []runtime.RawExtension{text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":{"a":"1","b":"1"}}}`)},
				AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: map[string]string{"b": "{{namespace}}"}, Annotations: map[string]string{"c": "{{tenant.name}}"}},
			}},
			want: []object{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{
				"name": "x", "namespace": "oil-b", "annotations": object{"c": "oil"},
				"labels": object{"a": "1", "b": "oil-b", capsulev1beta2.ManagedByLabel: "replications"},
			}}},
		},
		"what is no object": {
			resources: rawItems(text(`[]`), text(`{"kind":"ConfigMap","metadata":{"name":"x"}}`), text(`{"apiVersion":"v1","metadata":{"name":"x"}}`),
				text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"x"}}`), text(`{"apiVersion":"a/b/c","kind":"X","metadata":{"name":"x"}}`),
				text(`{"apiVersion":"v1","kind":"Unheard","metadata":{"name":"x"}}`), text(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}`),
				text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":[]}}`)),
			wantFailures: []string{
				"resources[0].rawItems[0]: json: cannot unmarshal array", "resources[0].rawItems[1]: an object without apiVersion", "resources[0].rawItems[2]: an object without kind",
				"resources[0].rawItems[3]: an object without metadata.name, of kind ConfigMap", "resources[0].rawItems[4]: unexpected GroupVersion string: a/b/c",
				"resources[0].rawItems[5]: Unheard x: there is no kind Unheard in v1", "resources[0].rawItems[6]: Namespace x: objects of this kind are in no namespace",
				"resources[0].rawItems[7]: ConfigMap x: metadata.labels is no object",
			},
		},
		"parts of an object": {
			resources: []capsulev1beta2.ReplicatedResources{
				{RawItems: []runtime.RawExtension{rawItem("x", "a", "1", "b", "2")}},
				generating("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {b: \"2\", c: \"3\"}"),
			},
			want: []object{wanted("x", nil, object{"data": object{"a": "1", "b": "2", "c": "3"}})},
		},
		"parts that disagree": {
			resources: append(rawItems(rawItem("x", "a", "1"), rawItem("x", "a", "2"), rawItem("x", "a", "3")),
				rawItems(text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"y"},"data":[]}`), rawItem("y"))...),
			wantErrs: []string{"resources[0].rawItems[0] and resources[0].rawItems[1] disagree about .data.a", "resources[1].rawItems[0] and resources[1].rawItems[1] disagree about .data"},
		},
		"a copy by name": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{source("oil-a", "one")}}},
			want:      []object{wanted("one", object{"share": "yes", "team": "a"}, object{"data": object{"k": "1"}})},
		},
		"a copy from its own namespace": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{source("", "one")}}},
			want:      []object{wanted("one", object{"share": "yes", "team": "a"}, object{"data": object{"k": "1"}})},
		},
		"copies by label": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{selecting("oil-a", map[string]string{"share": "yes"})}}},
			want: []object{
				wanted("one", object{"team": "a"}, object{"data": object{"k": "1"}}), wanted("two", nil, object{"data": object{"k": "2"}}),
			},
		},
		"a source where it is": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{source("{{namespace}}", "one")}}},
		},
		"no source": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{source("oil-a", "three")}}},
		},
		"sources that are not to be read": {
			resources: []capsulev1beta2.ReplicatedResources{{NamespacedItems: []capsulev1beta2.ObjectSelector{
				source("gas-a", "theirs"), source("free", "nobodys"), source("nowhere", "x"), source("oil-a", ""),
				{APIVersion: "v1", Kind: "Namespace", Name: "gas-a"}, {APIVersion: "v1", Kind: "Unheard", Name: "x"}, {APIVersion: "a/b/c", Kind: "X", Name: "x"},
				{APIVersion: "v1", Kind: "ConfigMap", Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Is"}}}},
			}}},
			wantFailures: []string{
				"resources[0].namespacedItems[0]: namespace: gas-a is not a namespace of the tenant oil, and is not read", "resources[0].namespacedItems[1]: namespace: free is not",
				"resources[0].namespacedItems[2]: namespace: nowhere is not", "resources[0].namespacedItems[3]: name the object, or give a selector",
				"resources[0].namespacedItems[4]: Namespace: objects of this kind are in no namespace", "resources[0].namespacedItems[5]: there is no kind Unheard in v1",
				"resources[0].namespacedItems[6]: apiVersion: unexpected", "resources[0].namespacedItems[7]: selector: Invalid value",
			},
		},
		"a template with a context": {
			resources: []capsulev1beta2.ReplicatedResources{generating(
				"{{ range .shared }}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-{{ .metadata.name }}}\ndata: {in: {{ $.namespace.metadata.name }}, env: {{ $.namespace.metadata.labels.env }}, size: {{ $.tenant.metadata.labels.size }}, k: {{ .data.k | quote }}}\n{{ end }}",
				capsulev1beta2.ContextResource{Index: "shared", ObjectSelector: selecting("", map[string]string{"team": "a"})})},
			want: []object{wanted("of-one", nil, object{"data": object{"in": "oil-b", "env": "prod", "size": "big", "k": "1"}})},
		},
		"a template that prints nothing": {resources: []capsulev1beta2.ReplicatedResources{generating("{{ if .no }}x{{ end }}")}},
		"templates that fail": {
			resources: []capsulev1beta2.ReplicatedResources{
				generating("{{ if }}"), generating("{{ fail \"so\" }}"),
				generating("", capsulev1beta2.ContextResource{Index: "tenant", ObjectSelector: source("", "one")}),
				generating("", capsulev1beta2.ContextResource{Index: "x", ObjectSelector: source("gas-a", "theirs")}),
				generating("", capsulev1beta2.ContextResource{Index: "x", ObjectSelector: capsulev1beta2.ObjectSelector{APIVersion: "v1", Kind: "Namespace", Name: "oil-a"}}),
			},
			wantFailures: []string{
				"resources[0].generators[0]: template: template:1: missing value for if", `resources[1].generators[0]: template: template:1:3: executing "template"`,
				`resources[2].context: resources[0].index: "tenant" is empty or taken`, "resources[3].context: resources[0]: namespace: gas-a is not",
				"resources[4].context: resources[0]: Namespace: objects of this kind are in no namespace",
			},
		},
		"no selector": {
			resources: []capsulev1beta2.ReplicatedResources{{
				RawItems:          []runtime.RawExtension{rawItem("x")},
				NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Is"}}},
			}},
			wantFailures: []string{"resources[0]: namespaceSelector: Invalid value"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, given...)
			s := localKind().subject(localSubject("oil-a", test.resources...))
			reach, err := s.reach(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			a := account{"oil-a", "sa"}
			underlying, err := c.local.as(a)
			if err != nil {
				t.Fatal(err)
			}
			p := c.local.plan(t.Context(), s, identity{underlying, a}, reach)
			var got []object
			var errs []string
			for _, key := range p.keys() {
				switch item := p.items[key]; {
				case key.namespace != "oil-b":
				case item.err != nil:
					errs = append(errs, item.err.Error())
				default:
					got = append(got, item.object)
				}
			}
			compare(t, "objects", test.want, got)
			compare(t, "errors of items", test.wantErrs, errs)
			if len(p.failures) != len(test.wantFailures) {
				t.Fatalf("want %d failures, got %q", len(test.wantFailures), p.failures)
			}
			for i, want := range test.wantFailures {
				if got := p.failures[i].Error(); !strings.HasPrefix(got, want) {
					t.Errorf("failure %d: want %q, got %q", i, want, got)
				}
			}
			compare(t, "whether it is blind", len(test.wantFailures) > 0, p.isBlind("oil-b"))
			compare(t, "writes", nil, c.takeWrites())
		})
	}
}

// TestTemplatesDoNotSeeSpecs holds that kubectl's record of a Tenant, and of a
// namespace, is not for templates.
func TestTemplatesDoNotSeeSpecs(t *testing.T) {
	r := localSubject("oil-a", generating(
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"of":{{ list .tenant.metadata.annotations .namespace.metadata.annotations | toJson | toJson }}}}`))
	configuration, oil := oil()[0], tenantNamed("oil")
	oil.Annotations = map[string]string{lastApplied: "{}", "note": "n"}
	namespace := namespaceOf("oil", "oil-a")
	namespace.Annotations = oil.Annotations
	c := newCluster(t, configuration, oil, namespace, r)
	c.reconcile(t, r)
	compare(t, "data", map[string]string{"of": `[{"note":"n"},{"note":"n"}]`}, c.data(t, "oil-a"))
}

func TestGlobalContextReadsAnything(t *testing.T) {
	g := globalSubject(generating(
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {k: {{ (index .one 0).data.k }}, names: {{ len .namespaces }}}",
		capsulev1beta2.ContextResource{Index: "one", ObjectSelector: source("free", "one")},
		capsulev1beta2.ContextResource{Index: "namespaces", ObjectSelector: capsulev1beta2.ObjectSelector{APIVersion: "v1", Kind: "Namespace", Selector: &metav1.LabelSelector{}}},
	))
	c := newCluster(t, append(oil(), g, configMap("free", "one", map[string]string{"k": "v"}))...)
	c.reconcile(t, g)
	// The value is a number there.
	if want := "False Failed: ConfigMap gas-a/x (resources[0].generators[0]): "; !strings.HasPrefix(ready(g), want) {
		t.Errorf("ready: want %q, got %q", want, ready(g))
	}
	edit(t, c, g, func(g *capsulev1beta2.GlobalTenantResource) {
		g.Spec.Resources[0].Generators[0].Template = strings.Replace(g.Spec.Resources[0].Generators[0].Template, "{{ len .namespaces }}", `{{ len .namespaces | quote }}`, 1)
	})
	c.reconcile(t, g)
	compare(t, "ready", "True Succeeded: 3 objects are as they should be", ready(g))
	compare(t, "data", map[string]string{"k": "v", "names": "4"}, c.data(t, "oil-a"))
	edit(t, c, g, func(g *capsulev1beta2.GlobalTenantResource) {
		g.Spec.Resources[0].Context.Resources[0].Namespace = ""
	})
	c.reconcile(t, g)
	compare(t, "ready", "False Failed: resources[0].context: resources[0]: namespace: name the one to read from", ready(g))
}

// TestCopyOf holds what of a source is its own.
func TestCopyOf(t *testing.T) {
	source := func(apiVersion, kind string, more object) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: object{
			"apiVersion": apiVersion, "kind": kind, "status": object{"a": "b"},
			"metadata": object{
				"name": "x", "namespace": "a", "uid": "u", "resourceVersion": "1", "generation": int64(1), "creationTimestamp": "2026-01-02T03:04:05Z",
				"ownerReferences": []any{object{"name": "o"}}, "finalizers": []any{"f"}, "managedFields": []any{object{}},
				"labels": object{"share": "yes", "team": "a"}, "annotations": object{lastApplied: "{}", "note": "n"},
			},
		}}
		maps.Copy(u.Object, more)
		return u
	}
	for name, test := range map[string]struct {
		source *unstructured.Unstructured
		want   object
	}{
		"any kind": {source: source("v1", "ConfigMap", object{"data": object{"k": "v"}}), want: object{"data": object{"k": "v"}}},
		"a Service": {
			source: source("v1", "Service", object{"spec": object{
				"clusterIP": "1.2.3.4", "clusterIPs": []any{"1.2.3.4"}, "healthCheckNodePort": int64(1), "ports": []any{object{"port": int64(80), "nodePort": int64(30000)}},
			}}),
			want: object{"spec": object{"ports": []any{object{"port": int64(80)}}}},
		},
		"a claim": {
			source: source("v1", "PersistentVolumeClaim", object{"spec": object{"volumeName": "v", "storageClassName": "s"}}),
			want:   object{"spec": object{"storageClassName": "s"}},
		},
		"a service account": {source: source("v1", "ServiceAccount", object{"secrets": []any{}}), want: object{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.source.DeepCopy()
			selector := &capsulev1beta2.ObjectSelector{Selector: &metav1.LabelSelector{
				MatchLabels:      map[string]string{"share": "yes"},
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "other", Operator: metav1.LabelSelectorOpDoesNotExist}},
			}}
			copied, _ := copyOf(test.source, selectedLabels(selector))
			got, _, err := normalize(copied, capsulev1beta2.AdditionalMetadata{})
			if err != nil {
				t.Fatal(err)
			}
			test.want["apiVersion"], test.want["kind"] = test.source.GetAPIVersion(), test.source.GetKind()
			test.want["metadata"] = object{
				"name": "x", "labels": object{"team": "a", capsulev1beta2.ManagedByLabel: "replications"}, "annotations": object{"note": "n"},
			}
			compare(t, "copy", test.want, got.object)
			if diff := cmp.Diff(before, test.source); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCopiesAreNoSources copies between two namespaces in both directions.
func TestCopiesAreNoSources(t *testing.T) {
	r := localSubject("oil-a", capsulev1beta2.ReplicatedResources{NamespacedItems: []capsulev1beta2.ObjectSelector{selecting("oil-a", nil), selecting("oil-b", nil)}})
	c := newCluster(t, append(oil(), r, configMap("oil-a", "x", map[string]string{"k": "a"}), configMap("oil-b", "y", map[string]string{"k": "b"}))...)
	for range 2 {
		c.reconcile(t, r)
		compare(t, "ready", "True Succeeded: 2 objects are as they should be", ready(r))
		compare(t, "entries", []string{"oil-a/y True created 03:04:05", "oil-b/x True created 03:04:05"}, entries(r.Status.ReplicationStatus))
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "oil-a", Name: "x"}, &corev1.ConfigMap{}); err != nil {
		t.Errorf("source: %v", err)
	}
}
