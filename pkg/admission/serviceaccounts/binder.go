// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package serviceaccounts

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/tenant"
)

// Binder writes to service accounts that are given the label for which Tenant it is.
// Whether it may be given Handler decides afterwards. It may be called concurrently.
type Binder struct {
	live client.Reader
}

var _ admission.Handler = &Binder{}

// NewBinder returns a Binder that reads from the API server.
func NewBinder(live client.Reader) *Binder { return &Binder{live} }

// Handle answers a request. A label that was there before, for another Tenant or for
// none, is not bound: nobody has said that it is meant for this one.
func (b *Binder) Handle(ctx context.Context, request admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	old, account, err := parse(&request.AdmissionRequest)
	if err != nil {
		return answer.BadRequest(err)
	}
	if account == nil || !tenant.IsPromoted(account) {
		return answer.Allowed()
	}
	t, err := tenantOf(ctx, b.live, request.Namespace)
	if err != nil {
		return answer.Failed(ctx, err)
	}
	if t == nil || tenant.PromotedFor(account) == t.UID || old != nil && tenant.IsPromoted(old) && tenant.PromotedFor(old) != t.UID {
		return answer.Allowed()
	}
	operation := webhook.JSONPatchOp{Operation: "add", Path: "/metadata/annotations/" + path, Value: string(t.UID)}
	if account.Annotations == nil {
		operation.Path = "/metadata/annotations"
		operation.Value = map[string]string{capsulev1beta2.PromotedForAnnotation: string(t.UID)}
	}
	response := answer.Allowed()
	response.Patches = []webhook.JSONPatchOp{operation}
	return response
}

// path is the annotation in a JSON pointer.
const path = "tenancy.capsule.io~1promoted-for"
