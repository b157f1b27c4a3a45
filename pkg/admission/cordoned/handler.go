// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cordoned keeps service accounts of tenants from changing what is in a cordoned
// namespace.
//
// It is asked about the accounts of other namespaces than the one that is written to.
// Whether such a namespace is a tenant's an admission policy cannot look up; of everybody
// else the policy tenancy-cordoned decides, which needs no answer from here.
package cordoned

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/admission/internal/requester"
	"tenancy.capsule.io/pkg/tenant"
)

// deadline ends a request somewhat before the API server gives it up, so that the
// user is told what was being waited for.
const deadline = 9 * time.Second

// Handler answers for what is written in cordoned namespaces. Whether a namespace is
// one is not asked again. It may be called concurrently.
type Handler struct {
	requesters requester.Finder
}

var _ admission.Handler = &Handler{}

// NewHandler returns a Handler.
func NewHandler(requesters requester.Finder) *Handler { return &Handler{requesters} }

// Handle answers a request.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	is, _, err := h.requesters.Find(ctx, answer.User(&request.UserInfo))
	switch {
	case err != nil:
		return answer.Failed(ctx, err)
	case is == tenant.CapsuleUser:
		return answer.Forbidden(&request.AdmissionRequest, fmt.Sprintf("namespace %q is cordoned: "+
			"wait until the label projectcapsule.dev/cordoned is taken off, or, if it is for the whole tenant, "+
			"until a cluster administrator sets spec.cordoned of the Tenant to false", request.Namespace))
	default:
		return answer.Allowed()
	}
}
