// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serviceaccounts decides who makes a service account an owner of its tenant,
// by the label owner.projectcapsule.dev/promote.
//
// Invariants:
//   - The label is set, and kept at each change, only by an owner of the Tenant whom
//     its spec, a TenantOwner or the configuration names. A service account that is an
//     owner by the label makes no others: or one that was promoted once could come
//     back for ever, however often the label is taken from it.
//   - Nobody sets it where configuration or Tenant do not allow it. It has no effect
//     there, but would have it from the moment that they do.
//   - The label has effect only for the Tenant that it was set for, which an annotation
//     names: neither the account of a namespace that is adopted, nor that of one that
//     moves, is an owner before one of its Tenant's owners says so.
//   - No more are promoted than a Tenant may have, see tenant.MaxPromoted.
//   - Whoever may write the service account may take the label off.
//   - What it depends on is read from the API server: an owner who has just been
//     removed leaves nobody behind. What cannot be found out is refused.
package serviceaccounts

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// deadline ends a request somewhat before the API server gives it up, so that the
// user is told what was being waited for.
const deadline = 9 * time.Second

// Handler answers for service accounts with the label. It may be called concurrently.
type Handler struct {
	live   client.Reader
	owners *owners.Resolver
}

var _ admission.Handler = &Handler{}

// NewHandler returns a Handler that reads from the API server.
func NewHandler(live client.Reader, owners *owners.Resolver) *Handler {
	return &Handler{live: live, owners: owners}
}

// Handle answers a request.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	old, account, err := parse(&request.AdmissionRequest)
	switch {
	case err != nil:
		return answer.BadRequest(err)
	case account == nil || !tenant.IsPromoted(account):
		return answer.Allowed()
	// Nothing holds up what is on its way out.
	case account.DeletionTimestamp != nil && old != nil && tenant.IsPromoted(old):
		return answer.Allowed()
	}
	t, err := tenantOf(ctx, h.live, request.Namespace)
	if err != nil {
		return answer.Failed(ctx, err)
	}
	// What has no effect, and is not given any, hurts nobody.
	if t == nil && old != nil && tenant.IsPromoted(old) && tenant.PromotedFor(old) == tenant.PromotedFor(account) {
		return answer.Allowed(noEffect)
	}
	refusal, err := h.judge(ctx, t, answer.User(&request.UserInfo))
	if err == nil && refusal == "" && tenant.PromotedFor(account) == t.UID && !isPromotedFor(old, t) {
		refusal, err = h.judgeNumber(ctx, t, request.Namespace, request.Name)
	}
	switch {
	case err != nil:
		return answer.Failed(ctx, err)
	case refusal != "":
		return answer.Forbidden(&request.AdmissionRequest, fmt.Sprintf(
			"the label %s makes the service account an owner of the tenant that namespace %q belongs to, %s",
			capsulev1beta2.OwnerPromotionLabel, request.Namespace, refusal))
	case tenant.PromotedFor(account) != t.UID:
		return answer.Allowed(noEffect)
	}
	return answer.Allowed()
}

// noEffect warns of a label that stays and does nothing.
const noEffect = "the label " + capsulev1beta2.OwnerPromotionLabel + " was not set for the Tenant of this namespace and has no effect: " +
	"to make the service account an owner take it off, and set it again"

// isPromotedFor reports whether a service account, if there is one, was promoted for a
// Tenant.
func isPromotedFor(account *metav1.PartialObjectMetadata, t *capsulev1beta2.Tenant) bool {
	return account != nil && tenant.IsPromoted(account) && tenant.PromotedFor(account) == t.UID
}

// judgeNumber says why there may not be one more service account that owns a Tenant.
func (h *Handler) judgeNumber(ctx context.Context, t *capsulev1beta2.Tenant, namespace, name string) (string, error) {
	sources, err := h.owners.PromotionsOf(ctx, t)
	if err != nil {
		return "", err
	}
	own := serviceaccount.MakeUsername(namespace, name)
	others := 0
	for _, owner := range tenant.PromotedOwners(t, sources) {
		if owner.Name != own {
			others++
		}
	}
	if others >= tenant.MaxPromoted {
		return fmt.Sprintf("which has as many of them as it may, %d: take the label off one that needs it no more", others), nil
	}
	return "", nil
}

// judge says why somebody may not promote the service accounts of a Tenant, if there
// is one, and what to do.
func (h *Handler) judge(ctx context.Context, t *capsulev1beta2.Tenant, info user.Info) (string, error) {
	if t == nil {
		return "which belongs to none: leave the label out", nil
	}
	config, err := h.owners.Configuration(ctx, h.live, owners.Recent)
	if err != nil {
		return "", err
	}
	if config == nil || !config.AllowServiceAccountPromotion {
		return "which the CapsuleConfiguration does not allow: leave the label out, " +
			"or ask a cluster administrator to set its spec.allowServiceAccountPromotion", nil
	}
	if !tenant.AllowsPromotion(t, config) {
		return "which the Tenant does not allow: leave the label out, " +
			"or ask a cluster administrator to set its spec.permissions.allowOwnerPromotion", nil
	}
	sources, err := h.owners.About(ctx, info)
	if err != nil {
		return "", err
	}
	if sources, err = h.owners.Confirm(ctx, h.live, sources, info); err != nil {
		return "", err
	}
	sources.Config, sources.Promoted = config, nil
	if !tenant.IsOwner(t, sources, info) {
		return "which only the owners do that the Tenant or a TenantOwner names, and administrators; not service accounts " +
			"that have this label themselves: leave the label out, or have one of them set it", nil
	}
	return "", nil
}

// tenantOf returns the Tenant that a namespace belongs to, or nil.
func tenantOf(ctx context.Context, live client.Reader, name string) (*capsulev1beta2.Tenant, error) {
	namespace := objects.Metadata(objects.NamespaceKind)
	switch err := live.Get(ctx, client.ObjectKey{Name: name}, namespace); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return objects.TenantOf(ctx, live, namespace)
}

// parse returns the service account as it was and as it is to be. Either is nil if it
// is created, or deleted.
func parse(request *admissionv1.AdmissionRequest) (old, account *metav1.PartialObjectMetadata, err error) {
	if request.Resource.Group != corev1.GroupName || request.Resource.Resource != "serviceaccounts" {
		return nil, nil, fmt.Errorf("%s is not serviceaccounts", request.Resource.Resource)
	}
	if request.Operation == admissionv1.Update {
		if old, err = answer.Decode[metav1.PartialObjectMetadata](request.OldObject.Raw); err != nil {
			return nil, nil, fmt.Errorf("decode oldObject: %w", err)
		}
	}
	if request.Operation == admissionv1.Create || request.Operation == admissionv1.Update {
		if account, err = answer.Decode[metav1.PartialObjectMetadata](request.Object.Raw); err != nil {
			return nil, nil, fmt.Errorf("decode object: %w", err)
		}
	}
	return old, account, nil
}
