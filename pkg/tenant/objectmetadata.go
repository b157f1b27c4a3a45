// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// reservedKeys and reservedPrefixes are the labels and annotations that no Tenant can
// give to all of its pods, Services and EndpointSlices.
var (
	reservedKeys = sets.New(
		// Workloads know their pods by them. To one that has lost its pod so, it
		// misses one: it would make ever new ones.
		"pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name",
		"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
		// Likewise Services and their EndpointSlices.
		"kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by",
		corev1.IsHeadlessService, corev1.EndpointsLastChangeTriggerTime,
		// They have to fit the rest of the object, or it is invalid.
		corev1.TolerationsAnnotationKey, corev1.PodDeletionCost, corev1.AnnotationLoadBalancerSourceRangesKey,
		// Of each object another.
		corev1.LastAppliedConfigAnnotation,
		capsulev1beta2.ManagedByLabel, capsulev1beta2.CreatedByLabel,
	)
	reservedPrefixes = []string{
		// Workloads again, and pods that are in files of a node.
		"batch.kubernetes.io/", "kubernetes.io/config.",
		// They have to fit the containers of a pod, and cannot be changed.
		corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix,
		corev1.SeccompPodAnnotationKey, corev1.SeccompContainerAnnotationKeyPrefix,
	}
)

// PodMetadata returns what pods in the namespaces of a Tenant carry, whatever else they
// carry. What would make a pod invalid, or lost to its workload, is left out; the
// errors name it.
func PodMetadata(spec *capsulev1beta2.TenantSpec) (Metadata, field.ErrorList) {
	if spec.PodOptions == nil {
		return Metadata{}, nil
	}
	return objectMetadata(field.NewPath("spec", "podOptions", "additionalMetadata"), spec.PodOptions.AdditionalMetadata)
}

// ServiceMetadata does for Services and EndpointSlices what PodMetadata does for pods.
func ServiceMetadata(spec *capsulev1beta2.TenantSpec) (Metadata, field.ErrorList) {
	if spec.ServiceOptions == nil {
		return Metadata{}, nil
	}
	return objectMetadata(field.NewPath("spec", "serviceOptions", "additionalMetadata"), spec.ServiceOptions.AdditionalMetadata)
}

func objectMetadata(at *field.Path, given *capsulev1beta2.AdditionalMetadata) (Metadata, field.ErrorList) {
	if given == nil {
		return Metadata{}, nil
	}
	var all field.ErrorList
	pick := func(at *field.Path, given map[string]string, validate func(map[string]string, *field.Path) field.ErrorList) map[string]string {
		picked := map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(given)) {
			errs := validate(map[string]string{key: given[key]}, at)
			if isReserved(key) {
				errs = append(errs, field.Forbidden(at.Key(key), "Kubernetes or the controller knows objects by it: choose another key"))
			}
			if len(errs) == 0 {
				picked[key] = given[key]
			}
			all = append(all, errs...)
		}
		return picked
	}
	m := Metadata{
		Labels:      pick(at.Child("labels"), given.Labels, metav1validation.ValidateLabels),
		Annotations: pick(at.Child("annotations"), given.Annotations, apivalidation.ValidateAnnotations),
	}
	if apivalidation.ValidateAnnotationsSize(m.Annotations) != nil {
		all = append(all, field.TooLong(at.Child("annotations"), "", apivalidation.TotalAnnotationSizeLimitB))
		m.Annotations = map[string]string{}
	}
	return m, all
}

func isReserved(key string) bool {
	return reservedKeys.Has(key) || slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}
