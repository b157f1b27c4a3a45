// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// The longest texts: of an event as the API server takes it, of a condition of a
// Tenant, and of the condition of each of its namespaces, of which there are many.
const (
	maxNote         = 1024
	maxMessage      = 4096
	maxSpaceMessage = 512
)

// tell records an event for each condition that says something new which an
// administrator should know, and one when all is well again.
func (r *reconciler) tell(t *capsulev1beta2.Tenant, wanted *capsulev1beta2.TenantStatus) {
	for _, condition := range wanted.Conditions {
		was := meta.FindStatusCondition(t.Status.Conditions, condition.Type)
		if eventType := worthAnEvent(was, &condition); eventType != "" {
			r.recorder.Eventf(t, nil, eventType, condition.Reason, "Reconcile", "%s", shortened(condition.Message, maxNote))
		}
	}
}

// worthAnEvent returns the type of the event for a change of a condition, or nothing.
func worthAnEvent(was, is *metav1.Condition) string {
	if was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return ""
	}
	switch {
	case is.Reason == capsulev1beta2.FailedReason, is.Reason == InvalidFieldReason, is.Reason == CorrectedReason:
		return corev1.EventTypeWarning
	case was == nil || was.Reason == is.Reason:
		// A Tenant begins well.
		return ""
	default:
		return corev1.EventTypeNormal
	}
}

// shortened returns as much of a text as fits into so many bytes.
func shortened(text string, limit int) string {
	const more = " ..."
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}
