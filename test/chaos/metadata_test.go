// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// This file says what namespaces carry for their Tenants.

const (
	cordonedLabel      = "projectcapsule.dev/cordoned"
	selectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"
	// meddled is what somebody writes over what Tenants give.
	meddled = "meddled"
)

// given are what Tenants of the test give to namespaces, and nobody else does but who
// meddles.
var (
	givenLabels      = []string{"example.com/team", "example.com/stage", cordonedLabel}
	givenAnnotations = []string{
		"example.com/team", "example.com/stage", selectorAnnotation,
		"capsule.clastix.io/ingress-classes", "capsule.clastix.io/ingress-classes-regexp",
		"capsule.clastix.io/storage-classes", "capsule.clastix.io/storage-classes-regexp",
	}
)

func (r random) namespaceOptions() *capsulev1beta2.NamespaceOptions {
	if r.oneIn(4) {
		return nil
	}
	o := &capsulev1beta2.NamespaceOptions{
		AdditionalMetadata:  pick(r, nil, new(r.additionalMetadata()), new(r.additionalMetadata())),
		ManagedMetadataOnly: new(r.oneIn(6)),
	}
	for range r.IntN(3) {
		item := capsulev1beta2.AdditionalMetadataSelector{AdditionalMetadata: r.additionalMetadata()}
		item.NamespaceSelector = pick(r, nil, new(selector(poolLabel, pick(r, pools...))))
		o.AdditionalMetadataList = append(o.AdditionalMetadataList, item)
	}
	return o
}

func (r random) additionalMetadata() capsulev1beta2.AdditionalMetadata {
	draw := func(keys []string, values ...string) map[string]string {
		drawn := map[string]string{}
		for _, key := range some(r, r.IntN(3), keys) {
			drawn[key] = pick(r, values...)
		}
		return drawn
	}
	return capsulev1beta2.AdditionalMetadata{
		Labels:      draw(givenLabels[:2], "a", "b", "{{ tenant.name }}"),
		Annotations: draw(givenAnnotations[:2], "a", "b", "{{ namespace }} of {{tenant.name}}"),
	}
}

// metadataOf returns what a Tenant gives to a namespace of it.
func metadataOf(t *capsulev1beta2.Tenant, namespace client.Object) (labels, annotations map[string]string) {
	labels, annotations = map[string]string{}, map[string]string{}
	if t == nil {
		return labels, annotations
	}
	values := strings.NewReplacer("{{ tenant.name }}", t.Name, "{{tenant.name}}", t.Name, "{{ namespace }}", namespace.GetName())
	// What comes first counts.
	give := func(to, from map[string]string) {
		for key, value := range from {
			if _, ok := to[key]; !ok {
				to[key] = values.Replace(value)
			}
		}
	}
	if o := t.Spec.NamespaceOptions; o != nil {
		var all []capsulev1beta2.AdditionalMetadata
		if o.AdditionalMetadata != nil {
			all = append(all, *o.AdditionalMetadata)
		}
		for i := range o.AdditionalMetadataList {
			if s := o.AdditionalMetadataList[i].NamespaceSelector; s == nil || selects(s, namespace) {
				all = append(all, o.AdditionalMetadataList[i].AdditionalMetadata)
			}
		}
		for _, m := range all {
			give(labels, m.Labels)
			give(annotations, m.Annotations)
		}
	}
	if t.Spec.Cordoned {
		labels[cordonedLabel] = "true"
	}
	var pairs []string
	for _, key := range []string{poolLabel, zoneLabel} {
		if value, ok := t.Spec.NodeSelector[key]; ok {
			pairs = append(pairs, key+"="+value)
		}
	}
	classes := func(key string, list *capsulev1beta2.DefaultAllowedList) {
		if list != nil {
			give(annotations, notEmpty(key, strings.Join(list.Allowed, ",")))
			give(annotations, notEmpty(key+"-regexp", list.AllowedRegex))
		}
	}
	give(annotations, notEmpty(selectorAnnotation, strings.Join(pairs, ",")))
	classes("capsule.clastix.io/storage-classes", t.Spec.StorageClasses)
	if t.Spec.IngressOptions != nil {
		classes("capsule.clastix.io/ingress-classes", t.Spec.IngressOptions.AllowedClasses)
	}
	return labels, annotations
}

func notEmpty(key, value string) map[string]string {
	if value == "" {
		return nil
	}
	return map[string]string{key: value}
}

// mislabelled says what a namespace does not carry that it should, or the other way
// round.
func mislabelled(namespace client.Object, t *capsulev1beta2.Tenant) string {
	labels, annotations := metadataOf(t, namespace)
	only := t != nil && t.Spec.NamespaceOptions != nil && *t.Spec.NamespaceOptions.ManagedMetadataOnly
	for _, part := range []struct {
		what     string
		is, want map[string]string
		given    []string
	}{
		{what: "labels", is: namespace.GetLabels(), want: labels, given: givenLabels},
		{what: "annotations", is: namespace.GetAnnotations(), want: annotations, given: givenAnnotations},
	} {
		is := maps.Clone(part.is)
		maps.DeleteFunc(is, func(key, value string) bool {
			if _, ok := part.want[key]; ok || only && !isCore(key) {
				return false
			}
			// It is whose who wrote it.
			return !slices.Contains(part.given, key) || value == meddled
		})
		if !maps.Equal(is, part.want) {
			return fmt.Sprintf("namespace %s: want the %s %v, got %v", namespace.GetName(), part.what, part.want, is)
		}
	}
	return ""
}

// isCore reports whether a key is nobody's to take off but who gave it.
func isCore(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return key == "kubernetes.io/metadata.name" || domain == "capsule.clastix.io" || domain == "projectcapsule.dev"
}
