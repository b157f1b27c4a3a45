// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
)

// Validate answers for Tenants.
func Validate(_ context.Context, request admission.Request) admission.Response {
	if request.Operation == admissionv1.Delete {
		return remove(&request.AdmissionRequest)
	}
	return write(&request.AdmissionRequest, validateTenant)
}

// ValidateConfiguration answers for CapsuleConfigurations.
func ValidateConfiguration(_ context.Context, request admission.Request) admission.Response {
	return write(&request.AdmissionRequest, validateConfiguration)
}

// Mutate gives Tenants a label with their name, as namespaces have it, so that
// label selectors can name them.
func Mutate(_ context.Context, request admission.Request) admission.Response {
	t, err := decode[metav1.PartialObjectMetadata](&request.AdmissionRequest, request.Object.Raw)
	switch {
	case err != nil:
		return answer.BadRequest(err)
	// The name may yet have to be generated: then the label comes with the first update.
	case t.Name == "" || t.Labels[corev1.LabelMetadataName] == t.Name:
		return answer.Allowed()
	// It will be refused for its name, which need not be said twice.
	case len(validation.IsValidLabelValue(t.Name)) > 0:
		return answer.Allowed()
	}
	operation := webhook.JSONPatchOp{Operation: "add", Path: "/metadata/labels/kubernetes.io~1metadata.name", Value: t.Name}
	if t.Labels == nil {
		operation.Path, operation.Value = "/metadata/labels", map[string]string{corev1.LabelMetadataName: t.Name}
	}
	response := answer.Allowed()
	response.Patches = []webhook.JSONPatchOp{operation}
	return response
}

// remove keeps Tenants that are protected: their namespaces would go, too.
func remove(request *admissionv1.AdmissionRequest) admission.Response {
	t, err := decode[capsulev1beta2.Tenant](request, request.OldObject.Raw)
	switch {
	case err != nil:
		return answer.BadRequest(err)
	case t.Spec.PreventDeletion && t.DeletionTimestamp == nil:
		return answer.Forbidden(request, fmt.Sprintf(
			"tenant %q is protected, deleting it deletes its namespaces: set its spec.preventDeletion to false first", t.Name))
	}
	return answer.Allowed()
}

// write judges an object that is created or updated.
func write[T any, P interface {
	*T
	metav1.Object
}](request *admissionv1.AdmissionRequest, validate func(P) *findings) admission.Response {
	object, err := decode[T](request, request.Object.Raw)
	if err != nil {
		return answer.BadRequest(err)
	}
	// Nothing holds up what is on its way out.
	if P(object).GetDeletionTimestamp() != nil {
		return answer.Allowed()
	}
	found := validate(object)
	// Some were found in the order of a map, which is none.
	slices.SortStableFunc(found.errs, func(a, b *field.Error) int { return cmp.Compare(a.Field, b.Field) })
	if request.Operation == admissionv1.Update {
		old, err := decode[T](request, request.OldObject.Raw)
		if err != nil {
			return answer.BadRequest(err)
		}
		found.since(validate(old))
	}
	response := answer.Allowed()
	if len(found.errs) > 0 {
		response = answer.Invalid(request, found.errs)
	}
	return response.WithWarnings(found.warnings...)
}

func decode[T any](request *admissionv1.AdmissionRequest, raw []byte) (*T, error) {
	if request.Kind.Group != capsulev1beta2.GroupName || request.Kind.Version != capsulev1beta2.SchemeGroupVersion.Version {
		return nil, fmt.Errorf("%s/%s is not of %s", request.Kind.Group, request.Kind.Version, capsulev1beta2.SchemeGroupVersion)
	}
	object := new(T)
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", request.Kind.Kind, err)
	}
	return object, nil
}
