// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// The annotations by which namespaces say what their tenant may use, as Capsule writes
// them.
const (
	// nodeSelectorAnnotation is read by the admission plugin PodNodeSelector.
	nodeSelectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"

	ingressClassesAnnotation = "capsule.clastix.io/ingress-classes"
	storageClassesAnnotation = "capsule.clastix.io/storage-classes"
	registriesAnnotation     = "capsule.clastix.io/allowed-registries"
	regexpSuffix             = "-regexp"
	forbiddenPrefix          = "capsule.clastix.io/forbidden-namespace-"
)

// Metadata is metadata that a namespace, or what is in it, has from its Tenant.
type Metadata struct{ Labels, Annotations map[string]string }

// NamespaceMetadata returns what the Tenant wants a namespace of that name and with
// these labels to carry, besides the label and the owner that make it the Tenant's.
// Where the name is not known yet what depends on it is left out. So is what cannot be
// a label, and a selector that is none selects nothing: admission refuses both.
func NamespaceMetadata(t *capsulev1beta2.Tenant, name string, present map[string]string) Metadata {
	m := Metadata{map[string]string{}, map[string]string{}}
	if options := t.Spec.NamespaceOptions; options != nil {
		if options.AdditionalMetadata != nil {
			m.add(t, name, options.AdditionalMetadata)
		}
		for i := range options.AdditionalMetadataList {
			item := &options.AdditionalMetadataList[i]
			if selects(item.NamespaceSelector, present) {
				m.add(t, name, &item.AdditionalMetadata)
			}
		}
	}
	for key, value := range t.Annotations {
		if strings.HasPrefix(key, forbiddenPrefix) {
			m.Annotations[key] = value
		}
	}
	if t.Spec.IngressOptions != nil {
		m.addChoice(ingressClassesAnnotation, listOf(t.Spec.IngressOptions.AllowedClasses))
	}
	m.addChoice(storageClassesAnnotation, listOf(t.Spec.StorageClasses))
	m.addChoice(registriesAnnotation, t.Spec.ContainerRegistries)
	if len(t.Spec.NodeSelector) > 0 {
		m.Annotations[nodeSelectorAnnotation] = labels.Set(t.Spec.NodeSelector).String()
	}
	if t.Spec.Cordoned {
		m.Labels[capsulev1beta2.CordonedLabel] = "true"
	}
	// What makes the namespace the Tenant's is not for this list to say.
	delete(m.Labels, capsulev1beta2.TenantLabel)
	delete(m.Labels, nameLabel)
	return m
}

// SameNamespaceMetadata reports whether two states of a Tenant want the same of every
// namespace.
func SameNamespaceMetadata(a, b *capsulev1beta2.Tenant) bool {
	part := func(t *capsulev1beta2.Tenant) *capsulev1beta2.Tenant {
		spec := &t.Spec
		part := &capsulev1beta2.Tenant{Spec: capsulev1beta2.TenantSpec{
			IngressOptions: spec.IngressOptions, StorageClasses: spec.StorageClasses, ContainerRegistries: spec.ContainerRegistries,
			NodeSelector: spec.NodeSelector, Cordoned: spec.Cordoned,
		}}
		part.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{ManagedMetadataOnly: new(ManagesMetadataOnly(t))}
		if o := spec.NamespaceOptions; o != nil {
			part.Spec.NamespaceOptions.AdditionalMetadata, part.Spec.NamespaceOptions.AdditionalMetadataList = o.AdditionalMetadata, o.AdditionalMetadataList
		}
		part.Annotations = maps.Clone(t.Annotations)
		maps.DeleteFunc(part.Annotations, func(key, _ string) bool { return !strings.HasPrefix(key, forbiddenPrefix) })
		return part
	}
	return equality.Semantic.DeepEqual(part(a), part(b))
}

// nameLabel is given to every namespace by the API server.
const nameLabel = "kubernetes.io/metadata.name"

func selects(selector *metav1.LabelSelector, present map[string]string) bool {
	if selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(present))
}

// add adds what is not there yet.
func (m Metadata) add(t *capsulev1beta2.Tenant, name string, given *capsulev1beta2.AdditionalMetadata) {
	for key, value := range given.Labels {
		value, known := expand(value, t, name)
		if _, ok := m.Labels[key]; !ok && known && len(validation.IsValidLabelValue(value)) == 0 {
			m.Labels[key] = value
		}
	}
	for key, value := range given.Annotations {
		value, known := expand(value, t, name)
		if _, ok := m.Annotations[key]; !ok && known {
			m.Annotations[key] = value
		}
	}
}

// placeholder is what a value may refer to.
var placeholder = regexp.MustCompile(`\{\{\s*(tenant\.name|namespace)\s*\}\}`)

// expand returns a value with what it refers to. It is false if that is not known.
func expand(value string, t *capsulev1beta2.Tenant, namespace string) (string, bool) {
	known := true
	value = placeholder.ReplaceAllStringFunc(value, func(reference string) string {
		if strings.Contains(reference, "tenant.name") {
			return t.Name
		}
		known = known && namespace != ""
		return namespace
	})
	return value, known
}

func listOf(classes *capsulev1beta2.DefaultAllowedList) *capsulev1beta2.AllowedList {
	if classes == nil {
		return nil
	}
	return &classes.AllowedList
}

func (m Metadata) addChoice(annotation string, list *capsulev1beta2.AllowedList) {
	if list == nil {
		return
	}
	if len(list.Allowed) > 0 {
		m.Annotations[annotation] = strings.Join(list.Allowed, ",")
	}
	if list.AllowedRegex != "" {
		m.Annotations[annotation+regexpSuffix] = list.AllowedRegex
	}
}

// IsCore reports whether a label or annotation is kept where a Tenant lets namespaces
// carry nothing but what it gives them.
func IsCore(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return key == nameLabel || key == "kubectl.kubernetes.io/last-applied-configuration" ||
		domain == "capsule.clastix.io" || domain == "projectcapsule.dev" || strings.HasSuffix(domain, ".projectcapsule.dev")
}

// ManagesMetadataOnly reports whether namespaces of the Tenant carry nothing but what
// it gives them, and what IsCore.
func ManagesMetadataOnly(t *capsulev1beta2.Tenant) bool {
	return t.Spec.NamespaceOptions != nil && t.Spec.NamespaceOptions.ManagedMetadataOnly != nil && *t.Spec.NamespaceOptions.ManagedMetadataOnly
}

// Forbidden returns which of the keys a list denies, in order. A regular expression
// that is none denies all of them.
func Forbidden(list *capsulev1beta2.ForbiddenList, keys []string) []string {
	if list == nil {
		return nil
	}
	var denied func(key string) bool
	switch pattern, err := regexp.Compile(list.DeniedRegex); {
	case err != nil:
		denied = func(string) bool { return true }
	case list.DeniedRegex == "":
		denied = func(string) bool { return false }
	default:
		denied = pattern.MatchString
	}
	var forbidden []string
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if slices.Contains(list.Denied, key) || denied(key) {
			forbidden = append(forbidden, key)
		}
	}
	return forbidden
}

// Missing returns the first key, in order, that has no value which its regular
// expression matches, and that expression. It is empty if there is none. An expression
// that is none matches nothing.
func Missing(required, present map[string]string) (key, pattern string) {
	for _, key := range slices.Sorted(maps.Keys(required)) {
		value, ok := present[key]
		expression, err := regexp.Compile(required[key])
		if !ok || err != nil || !expression.MatchString(value) {
			return key, required[key]
		}
	}
	return "", ""
}
