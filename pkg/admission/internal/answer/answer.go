// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package answer makes the answers of webhooks, as the API server would have
// worded them itself: a refusal by policy is a 403, bad input a 422 with all that
// is wrong, and what could not be decided a 500. It reads what all requests have, too.
package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Allowed lets the request pass.
func Allowed(warnings ...string) admission.Response {
	return admission.Allowed("").WithWarnings(warnings...)
}

// Forbidden refuses the request. The message says why, and what to do.
func Forbidden(request *admissionv1.AdmissionRequest, message string) admission.Response {
	return failure(metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusForbidden,
		Reason:  metav1.StatusReasonForbidden,
		Message: message,
		Details: &metav1.StatusDetails{Name: request.Name, Group: request.Resource.Group, Kind: request.Resource.Resource},
	})
}

// Invalid refuses an object for all that is wrong with it.
func Invalid(request *admissionv1.AdmissionRequest, errs field.ErrorList) admission.Response {
	kind := schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}
	return failure(apierrors.NewInvalid(kind, request.Name, errs).ErrStatus)
}

// BadRequest refuses what no API server sends.
func BadRequest(err error) admission.Response {
	return failure(apierrors.NewBadRequest(err.Error()).ErrStatus)
}

// Failed refuses a request that could not be decided. An error of the API server
// is never passed on as it is: its 403 would be the controller's, not the user's.
func Failed(ctx context.Context, err error) admission.Response {
	if ctx.Err() != nil {
		return failure(apierrors.NewTimeoutError(fmt.Sprintf("not decided in time: %v: try again", err), 1).ErrStatus)
	}
	klog.FromContext(ctx).Error(err, "Failed to decide a request")
	return failure(apierrors.NewInternalError(err).ErrStatus)
}

func failure(status metav1.Status) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

// Decode returns an object of a request as a T. That there is none is an error.
func Decode[T any](raw []byte) (*T, error) {
	if len(raw) == 0 {
		return nil, errors.New("there is none")
	}
	object := new(T)
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, err
	}
	return object, nil
}

// User returns who makes the request, impersonation resolved.
func User(info *authenticationv1.UserInfo) user.Info {
	extra := make(map[string][]string, len(info.Extra))
	for key, values := range info.Extra {
		extra[key] = values
	}
	return &user.DefaultInfo{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: extra}
}
