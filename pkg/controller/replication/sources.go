// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/replication/render"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// maxSources is how many objects a selector may select, sourcesAtOnce how many
	// of them are asked for at once, if they are small.
	maxSources, sourcesAtOnce = 1000, 100
)

// Names under which templates find more than the objects of their context.
const (
	tenantIndex    = "tenant"
	namespaceIndex = "namespace"
)

// sourceKey is a question for sources.
type sourceKey struct {
	gvk                       schema.GroupVersionKind
	namespace, name, selector string
}

// sourceResult is the answer. Nobody changes the objects.
type sourceResult struct {
	objects []unstructured.Unstructured
	err     error
}

// copies returns copies of what a selector selects, for one target.
func (p *planner) copies(ctx context.Context, t target, selector *capsulev1beta2.ObjectSelector, names render.Names) ([]map[string]any, error) {
	if t.namespace == nil {
		return nil, errors.New("copies are made in the namespaces of tenants: they need spec.scope Namespace")
	}
	sources, err := p.find(ctx, selector, names, false)
	if err != nil {
		return nil, err
	}
	dropped := selectedLabels(selector)
	var copies []map[string]any
	for i := range sources {
		// A source is not overwritten by itself, nor is what was made of it.
		if source := &sources[i]; source.GetNamespace() != t.namespace.Name {
			copied, isShared := copyOf(source, dropped)
			if !isShared {
				if err := p.budget.Keep(copied); err != nil {
					return nil, err
				}
			}
			copies = append(copies, copied)
		}
	}
	return copies, nil
}

// data returns what templates are given for a target: the metadata of the tenant and
// the namespace, and the objects that the context names.
func (p *planner) data(ctx context.Context, t target, c *capsulev1beta2.TemplateContext, names render.Names) (map[string]any, error) {
	data := map[string]any{}
	if t.tenant != nil {
		data[tenantIndex] = metadataOf(t.tenant)
	}
	if t.namespace != nil {
		data[namespaceIndex] = metadataOf(t.namespace)
	}
	if c == nil {
		return data, nil
	}
	for i := range c.Resources {
		resource := &c.Resources[i]
		if _, ok := data[resource.Index]; ok || resource.Index == "" || resource.Index == tenantIndex || resource.Index == namespaceIndex {
			return nil, fmt.Errorf("resources[%d].index: %q is empty or taken", i, resource.Index)
		}
		sources, err := p.find(ctx, &resource.ObjectSelector, names, p.reach.readable == nil)
		if err != nil {
			return nil, fmt.Errorf("resources[%d]: %w", i, err)
		}
		objects := make([]any, 0, len(sources))
		for j := range sources {
			objects = append(objects, sources[j].Object)
		}
		data[resource.Index] = objects
	}
	return data, nil
}

// metadataOf returns what templates see of the tenant and the namespace. kubectl's
// record of an object is all of its spec, which is not for tenants.
func metadataOf(object metav1.Object) map[string]any {
	annotations := anyMap(object.GetAnnotations())
	delete(annotations, lastApplied)
	return map[string]any{"metadata": map[string]any{
		"name": object.GetName(), "labels": anyMap(object.GetLabels()), "annotations": annotations,
	}}
}

func anyMap(values map[string]string) map[string]any {
	result := make(map[string]any, len(values))
	for key, value := range values {
		result[key] = value
	}
	return result
}

// find returns the objects that a selector selects. It is asked once for all
// targets that ask the same.
func (p *planner) find(ctx context.Context, selector *capsulev1beta2.ObjectSelector, names render.Names, anyScope bool) ([]unstructured.Unstructured, error) {
	key, selected, err := p.question(selector, names, anyScope)
	if err != nil {
		return nil, err
	}
	result, ok := p.sources[key]
	if !ok {
		result.objects, result.err = p.readSources(ctx, key, selected)
		p.sources[key] = result
	}
	if result.err == nil && len(result.objects) == 0 && selector.Optional != nil && !*selector.Optional {
		return nil, fmt.Errorf("there is no such %s in the namespace %q: make one, or set optional", key.gvk.Kind, key.namespace)
	}
	return result.objects, result.err
}

// question returns what is asked for, if it may be.
func (p *planner) question(selector *capsulev1beta2.ObjectSelector, names render.Names, anyScope bool) (sourceKey, labels.Selector, error) {
	gv, err := schema.ParseGroupVersion(selector.APIVersion)
	if err != nil {
		return sourceKey{}, nil, fmt.Errorf("apiVersion: %w", err)
	}
	key := sourceKey{gvk: gv.WithKind(selector.Kind)}
	var err1, err2 error
	key.name, err1 = render.String(selector.Name, names)
	key.namespace, err2 = render.String(selector.Namespace, names)
	if err := errors.Join(err1, err2); err != nil {
		return key, nil, err
	}
	scope, err := p.scope(key.gvk)
	switch {
	case err != nil:
		return key, nil, err
	case scope == meta.RESTScopeNameNamespace:
		if key.namespace == "" {
			key.namespace = p.reach.home
		}
		if key.namespace == "" {
			return key, nil, errors.New("namespace: name the one to read from")
		}
		if p.reach.readable != nil && !p.reach.readable[key.namespace] {
			return key, nil, fmt.Errorf("namespace: %s is not a namespace of the tenant %s, and is not read", key.namespace, p.reach.of)
		}
	case !anyScope:
		return key, nil, fmt.Errorf("%s: objects of this kind are in no namespace, and are not read here", key.gvk.Kind)
	default:
		key.namespace = ""
	}
	if key.name != "" {
		return key, nil, nil
	}
	if selector.Selector == nil {
		return key, nil, errors.New("name the object, or give a selector: {} selects all")
	}
	selected, errs := tenant.Selector(field.NewPath("selector"), selector.Selector)
	if len(errs) > 0 {
		return key, nil, errs.ToAggregate()
	}
	key.selector = "labels " + selected.String()
	return key, selected, nil
}

// readSources asks the API server as the service account. What the subject itself
// has written is left out.
func (p *planner) readSources(ctx context.Context, key sourceKey, selected labels.Selector) ([]unstructured.Unstructured, error) {
	if err := p.budget.Check(); err != nil {
		return nil, err
	}
	objects, err := p.ask(ctx, key, selected)
	if err != nil {
		return nil, p.as.explain(fmt.Errorf("read %s: %w", key.gvk.Kind, err))
	}
	return objects, nil
}

func (p *planner) ask(ctx context.Context, key sourceKey, selected labels.Selector) ([]unstructured.Unstructured, error) {
	if selected == nil {
		source := unstructured.Unstructured{}
		source.SetGroupVersionKind(key.gvk)
		if err := p.as.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.name}, &source); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return p.keep([]unstructured.Unstructured{source})
	}
	var objects []unstructured.Unstructured
	for limit, next := int64(sourcesAtOnce), ""; ; {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(key.gvk.GroupVersion().WithKind(key.gvk.Kind + "List"))
		err := p.as.List(ctx, list, client.InNamespace(key.namespace), client.MatchingLabelsSelector{Selector: selected},
			client.Limit(limit), client.Continue(next))
		if errors.Is(err, errLargeResponse) && limit > 1 {
			// They are large: fewer at once.
			limit /= 10
			continue
		}
		if err != nil {
			return nil, err
		}
		kept, err := p.keep(list.Items)
		if err != nil {
			return nil, err
		}
		if objects = append(objects, kept...); len(objects) > maxSources {
			return nil, fmt.Errorf("more than %d are selected", maxSources)
		}
		if next = list.GetContinue(); next == "" {
			return objects, nil
		}
	}
}

// keep returns those of the objects that were read which are sources, without what
// nobody copies, if there is memory for them.
func (p *planner) keep(objects []unstructured.Unstructured) ([]unstructured.Unstructured, error) {
	sources := slices.DeleteFunc(objects, func(u unstructured.Unstructured) bool { return ownEntry(&u, p.manager) != nil })
	for i := range sources {
		sources[i].SetManagedFields(nil)
		if err := p.budget.Keep(sources[i].Object); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// selectedLabels returns the keys of labels that a selector asks for: copies do not
// have them, or they would be selected in turn.
func selectedLabels(selector *capsulev1beta2.ObjectSelector) []string {
	if selector.Selector == nil {
		return nil
	}
	keys := slices.Collect(maps.Keys(selector.Selector.MatchLabels))
	for _, expression := range selector.Selector.MatchExpressions {
		keys = append(keys, expression.Key)
	}
	return keys
}

// lastApplied is kubectl's own record of an object.
const lastApplied = corev1.LastAppliedConfigAnnotation

// bound are fields, by group and kind, that say what a source itself is bound to. No
// copy can have them.
var bound = map[schema.GroupKind][][]string{
	{Kind: "Service"}:               {{"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "healthCheckNodePort"}},
	{Kind: "PersistentVolumeClaim"}: {{"spec", "volumeName"}},
	{Kind: "ServiceAccount"}:        {{"secrets"}},
	{Kind: "Pod"}:                   {{"spec", "nodeName"}},
}

// copyOf returns an object as somebody else would write it: without what the API
// server and controllers set, and without some of its labels. What is not metadata is
// shared with the source, if the copy is the same there.
func copyOf(source *unstructured.Unstructured, dropped []string) (object map[string]any, isShared bool) {
	object = maps.Clone(source.Object)
	metadata := map[string]any{"name": source.GetName()}
	labels, annotations := source.GetLabels(), source.GetAnnotations()
	for _, key := range dropped {
		delete(labels, key)
	}
	delete(labels, capsulev1beta2.ManagedByLabel)
	delete(annotations, lastApplied)
	if len(labels) > 0 {
		metadata["labels"] = anyMap(labels)
	}
	if len(annotations) > 0 {
		metadata["annotations"] = anyMap(annotations)
	}
	object["metadata"] = metadata
	paths := bound[source.GroupVersionKind().GroupKind()]
	if paths == nil {
		return object, true
	}
	object = (&unstructured.Unstructured{Object: object}).DeepCopy().Object
	for _, path := range paths {
		unstructured.RemoveNestedField(object, path...)
	}
	dropNodePorts(object)
	return object, false
}

// dropNodePorts takes off the ports that a Service got: no other can have them.
func dropNodePorts(object map[string]any) {
	ports, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "ports")
	list, _ := ports.([]any)
	for _, port := range list {
		if port, ok := port.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
}
