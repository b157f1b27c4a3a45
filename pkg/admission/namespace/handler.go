// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/admission/internal/requester"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// deadline ends a request somewhat before the API server gives it up, so that the
// user is told what was being waited for.
const deadline = 9 * time.Second

// maxNote is how long the API server lets the note of an event be, in bytes.
const maxNote = 1024

// Config is what the handlers need.
type Config struct {
	// Cached answers from memory, Live never does.
	Cached, Live client.Reader
	// Places gives the places in namespace quotas.
	Places *Places
	Events events.EventRecorder
	// Owners finds out who owns Tenants, from memory.
	Owners *owners.Resolver
	// Users are the names of the controller's own users.
	Users []string
}

// Handler answers the requests of one phase.
type Handler struct {
	gatherer gatherer
	places   *Places
	events   events.EventRecorder
	// final is true for the phase of validation.
	final bool
}

var _ admission.Handler = &Handler{}

// NewMutating returns the handler that assigns namespaces.
func NewMutating(c Config) *Handler { return newHandler(c, false) }

// NewValidating returns the handler that lets requests pass, or not.
func NewValidating(c Config) *Handler { return newHandler(c, true) }

func newHandler(c Config, final bool) *Handler {
	return &Handler{
		gatherer: gatherer{cached: c.Cached, live: c.Live, owners: c.Owners, requesters: requester.Finder{
			Cached: c.Cached, Live: c.Live, Owners: c.Owners, Users: c.Users,
		}},
		places: c.Places,
		events: c.Events,
		final:  final,
	}
}

// Handle answers a request.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	r, err := parse(&request.AdmissionRequest)
	if err != nil {
		return answer.BadRequest(err)
	}
	f, err := h.gatherer.gather(ctx, r, h.final)
	if err != nil {
		return answer.Failed(ctx, err)
	}
	d, err := h.decide(ctx, r, f, ptr.Deref(request.DryRun, false))
	if err != nil {
		return answer.Failed(ctx, err)
	}
	klog.FromContext(ctx).V(4).Info("Decided about a namespace", "operation", r.Operation, "subresource", r.Subresource,
		"namespace", r.Name, "user", r.User.GetName(), "requester", f.Requester, "refusal", d.Refusal)
	if d.Event != nil && !ptr.Deref(request.DryRun, false) {
		h.record(d.Event, r)
	}
	if d.Refusal != "" {
		return answer.Forbidden(&request.AdmissionRequest, d.Refusal)
	}
	response := answer.Allowed()
	if d.Claim != nil {
		response.Patches = patch(r.New, *d.Claim)
	}
	if d.Warning != "" {
		response.Warnings = []string{d.Warning}
	}
	return response
}

// decide decides what it takes to decide, a place in the quota included.
func (h *Handler) decide(ctx context.Context, r Request, f Facts, dryRun bool) (Decision, error) {
	if !h.final {
		return Mutate(r, f), nil
	}
	d := Validate(r, f)
	if d.Refusal != "" || d.Joins == nil {
		return d, nil
	}
	// The Tenant was read as it is now: without a quota there is nothing to count.
	if hasQuota(d.Joins) {
		refusal, err := h.places.Take(ctx, tenant.RefOf(d.Joins), r.Name, r.New.UID, dryRun)
		if err != nil {
			return Decision{}, err
		}
		if refusal != "" {
			return Decision{Refusal: refusal}.on(d.Joins, reasonFull, r.User), nil
		}
	}
	d.Event = &Event{
		Tenant: d.Joins, Type: corev1.EventTypeNormal, Reason: reasonAssigned, Action: actionMutated,
		Note: fmt.Sprintf("%s was assigned for %q", r, r.User.GetName()),
	}
	return d, nil
}

// record tells the administrators. Assignments of different namespaces are events
// of their own, refusals are counted.
func (h *Handler) record(event *Event, r Request) {
	var related runtime.Object
	if event.Reason == reasonAssigned {
		related = &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: r.Name}
	}
	// No more is taken. Names in it are the user's, and may not be names at all.
	note := strings.ToValidUTF8(event.Note[:min(len(event.Note), maxNote)], "")
	h.events.Eventf(event.Tenant, related, event.Type, event.Reason, event.Action, "%s", note)
}

// parse reads a request as the API server sends it.
func parse(request *admissionv1.AdmissionRequest) (Request, error) {
	if request.Resource.Group != "" || request.Resource.Resource != "namespaces" {
		return Request{}, fmt.Errorf("%s is not namespaces", request.Resource.Resource)
	}
	r := Request{
		Operation:   request.Operation,
		Subresource: request.SubResource,
		Name:        request.Name,
		User:        answer.User(&request.UserInfo),
	}
	var err error
	if request.Operation == admissionv1.Create || request.Operation == admissionv1.Update {
		if r.New, err = answer.Decode[metav1.PartialObjectMetadata](request.Object.Raw); err != nil {
			return Request{}, fmt.Errorf("decode object: %w", err)
		}
		r.GenerateName = r.New.GenerateName
	}
	if request.Operation == admissionv1.Update || request.Operation == admissionv1.Delete {
		if r.Old, err = answer.Decode[metav1.PartialObjectMetadata](request.OldObject.Raw); err != nil {
			return Request{}, fmt.Errorf("decode oldObject: %w", err)
		}
	}
	if r.Name == "" && r.New != nil {
		r.Name = r.New.Name
	}
	return r, nil
}

// patch makes the namespace say what it has to about its tenant.
func patch(namespace *metav1.PartialObjectMetadata, claim Claim) []webhook.JSONPatchOp {
	said := ClaimOf(namespace)
	var operations []webhook.JSONPatchOp
	if !said.sameLabel(claim) {
		operation := webhook.JSONPatchOp{Operation: "add", Path: "/metadata/labels/" + escape(capsulev1beta2.TenantLabel), Value: claim.label}
		if namespace.Labels == nil {
			operation.Path, operation.Value = "/metadata/labels", map[string]string{capsulev1beta2.TenantLabel: claim.label}
		}
		operations = append(operations, operation)
	}
	if !said.sameOwners(claim) {
		owners := make([]metav1.OwnerReference, 0, len(namespace.OwnerReferences)+len(claim.owners))
		for _, owner := range namespace.OwnerReferences {
			if !tenant.IsTenant(owner) {
				owners = append(owners, owner)
			}
		}
		owners = append(owners, claim.owners...)
		operations = append(operations, webhook.JSONPatchOp{Operation: "add", Path: "/metadata/ownerReferences", Value: owners})
	}
	return operations
}

// escape writes a key into a JSON pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
