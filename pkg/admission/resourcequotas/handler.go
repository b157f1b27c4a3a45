// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resourcequotas decides whether the namespaces of a Tenant that share a quota
// may use more of it.
//
// When the API server admits an object it first writes what the namespace uses then
// into the status of its ResourceQuotas, and fails the request if it cannot. It asks
// here about that write, unless what is used stays within what the ResourceQuota
// itself says is granted. What is approved of is written with a token, from which can
// be told later whether it was.
//
// Invariants:
//   - What is used together is within the limit of the Tenant, whoever asks at the
//     same moment, of whichever replica: a namespace may use more once a ledger says
//     so, which was computed from the one that it replaces. See package ledger.
//   - The API server's write succeeds only on the very ResourceQuota that the answer
//     was about: what was granted for a write that fails is put back.
//   - The Tenant is read from the API server: a limit counts from when it is set. What
//     the other namespaces use is read from the cache: they use no more than what is
//     granted to them, but for what kube-controller-manager has counted.
//   - Nothing is waited for that waits for the API server to admit an object: it
//     decides about quotas of few namespaces at a time. So it is the controller of
//     quotas that makes ledgers.
package resourcequotas

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/admission/internal/turns"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/quotas"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

const (
	// deadline ends a request somewhat before the API server gives it up, so that the
	// user is told what was being waited for.
	deadline = 2500 * time.Millisecond

	maxBackoff = 100 * time.Millisecond
)

// Handler answers for ResourceQuotas that the namespaces of a Tenant share. It may be
// called concurrently.
type Handler struct {
	cached, live client.Reader
	ledgers      *ledger.Store
	clock        clock.Clock
	// mine spares the replica conflicts with itself, by name of the ledger.
	mine turns.Turns[string]
}

var _ admission.Handler = &Handler{}

// NewHandler returns a Handler. Cached answers from memory, live never does.
func NewHandler(cached, live client.Reader, ledgers *ledger.Store, clock clock.Clock) *Handler {
	return &Handler{cached: cached, live: live, ledgers: ledgers, clock: clock}
}

// Handle answers a request.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	was, is, err := parse(&request.AdmissionRequest)
	if err != nil {
		return answer.BadRequest(err)
	}
	growths := ledger.Growths(was, is)
	if len(growths) == 0 {
		return answer.Allowed()
	}
	token, refusal, err := h.judge(ctx, was, growths, ptr.Deref(request.DryRun, false))
	klog.FromContext(ctx).V(4).Info("Decided about a quota", "namespace", was.Namespace, "resourceQuota", was.Name,
		"growths", growths, "refusal", refusal, "error", err)
	switch {
	case err != nil:
		return answer.Failed(ctx, err)
	case refusal != "":
		return answer.Forbidden(&request.AdmissionRequest, refusal)
	}
	response := answer.Allowed()
	if token != "" {
		response.Patches = patch(is, token)
	}
	return response
}

// judge grants what is asked, and returns the token, or says why not, and what to do.
func (h *Handler) judge(
	ctx context.Context, quota *corev1.ResourceQuota, growths []ledger.Growth, dryRun bool,
) (token, refusal string, err error) {
	t, item, err := h.sharedBy(ctx, quota)
	if err != nil || t == nil {
		return "", "", err
	}
	name := ledger.Name(t, item)
	done, err := h.mine.Take(ctx, name)
	if err != nil {
		return "", "", fmt.Errorf("wait for the quota %s: %w", name, err)
	}
	defer done()
	err = turns.Retry(ctx, h.clock, maxBackoff, func() error {
		token, refusal, err = h.try(ctx, t, item, quota, growths, dryRun)
		return err
	})
	return token, refusal, err
}

// sharedBy returns the Tenant whose namespaces share a ResourceQuota, and which item
// of its quotas it is; nil if it is not shared.
func (h *Handler) sharedBy(ctx context.Context, quota *corev1.ResourceQuota) (*capsulev1beta2.Tenant, int, error) {
	item, err := strconv.Atoi(quota.Labels[capsulev1beta2.ResourceQuotaLabel])
	if err != nil {
		return nil, 0, nil //nolint:nilerr // it is none of ours
	}
	namespace := objects.Metadata(objects.NamespaceKind)
	switch err := h.live.Get(ctx, client.ObjectKey{Name: quota.Namespace}, namespace); {
	case apierrors.IsNotFound(err):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("get namespace %s: %w", quota.Namespace, err)
	}
	t, err := objects.TenantOf(ctx, h.live, namespace)
	if err != nil || t == nil {
		return nil, 0, err
	}
	if !quotas.AreShared(t) || item < 0 || item >= len(t.Spec.ResourceQuotas.Items) || quota.Name != ledger.Name(t, item) {
		return nil, 0, nil
	}
	return t, item, nil
}

// try does what judge does, unless somebody else writes the ledger meanwhile: then the
// error is a conflict.
func (h *Handler) try(
	ctx context.Context, t *capsulev1beta2.Tenant, item int, quota *corev1.ResourceQuota, growths []ledger.Growth, dryRun bool,
) (token, refusal string, err error) {
	l, err := h.ledgers.Get(ctx, t, item)
	if err != nil {
		return "", "", err
	}
	if l == nil {
		return "", fmt.Sprintf("nobody keeps account yet of the quota %s that the namespaces of tenant %q share: try again in some seconds, "+
			"and if that does not help, ask a cluster administrator whether tenancy-controller runs", ledger.Name(t, item), t.Name), nil
	}
	present, err := quotas.Of(ctx, h.cached, t)
	if err != nil {
		return "", "", err
	}
	used := quotas.UsedBy(present[strconv.Itoa(item)])
	token, refusals := l.Approve(t.Spec.ResourceQuotas.Items[item].Hard, used, quota, growths, h.clock.Now())
	changed, err := l.Changed()
	if err != nil {
		return "", "", err
	}
	if changed && !dryRun {
		if err := h.ledgers.Update(ctx, l); err != nil {
			return "", "", err
		}
	}
	if len(refusals) > 0 {
		refusal = message(t, item, refusals)
	}
	return token, refusal, nil
}

// patch writes the token into a ResourceQuota.
func patch(quota *corev1.ResourceQuota, token string) []webhook.JSONPatchOp {
	if quota.Annotations == nil {
		return []webhook.JSONPatchOp{{Operation: "add", Path: "/metadata/annotations", Value: map[string]string{ledger.ApprovedAnnotation: token}}}
	}
	return []webhook.JSONPatchOp{{
		Operation: "add", Path: "/metadata/annotations/" + strings.ReplaceAll(ledger.ApprovedAnnotation, "/", "~1"), Value: token,
	}}
}

// message says why a namespace may not use more, and what to do.
func message(t *capsulev1beta2.Tenant, item int, refusals []ledger.Refusal) string {
	held := true
	reasons := make([]string, len(refusals))
	for i, r := range refusals {
		more := r.To.DeepCopy()
		more.Sub(r.From)
		reasons[i] = fmt.Sprintf("%s of %s %s are used, and %s more are asked for", r.Used.String(), r.Limit.String(), r.Resource, more.String())
		if r.Held {
			reasons[i] += ", while the rest is held for requests of the last seconds, or for other namespaces"
		}
		held = held && r.Held
	}
	what := fmt.Sprintf("the namespaces of tenant %q share the quota %s: %s", t.Name, ledger.Name(t, item), strings.Join(reasons, "; "))
	if held {
		return what + ": try again in some seconds"
	}
	return what + ": delete something in one of them, or ask a cluster administrator to raise spec.resourceQuotas of the Tenant"
}

// parse returns a ResourceQuota as it was and as it is to be.
func parse(request *admissionv1.AdmissionRequest) (was, is *corev1.ResourceQuota, err error) {
	if request.Resource.Group != corev1.GroupName || request.Resource.Resource != "resourcequotas" || request.SubResource != "status" {
		return nil, nil, fmt.Errorf("%s/%s is not resourcequotas/status", request.Resource.Resource, request.SubResource)
	}
	if request.Operation != admissionv1.Update {
		return nil, nil, fmt.Errorf("%s is no update", request.Operation)
	}
	if was, err = answer.Decode[corev1.ResourceQuota](request.OldObject.Raw); err != nil {
		return nil, nil, fmt.Errorf("decode oldObject: %w", err)
	}
	if is, err = answer.Decode[corev1.ResourceQuota](request.Object.Raw); err != nil {
		return nil, nil, fmt.Errorf("decode object: %w", err)
	}
	if was.Namespace != request.Namespace || was.Name != request.Name {
		return nil, nil, fmt.Errorf("oldObject is %s/%s, not %s/%s", was.Namespace, was.Name, request.Namespace, request.Name)
	}
	return was, is, nil
}
