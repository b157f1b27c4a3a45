// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Reasons of events about metadata.
const (
	reasonForbiddenLabel      = "ForbiddenLabel"
	reasonForbiddenAnnotation = "ForbiddenAnnotation"
	reasonForbiddenMetadata   = "ForbiddenMetadata"
)

// judgeMetadata refuses labels and annotations that a Tenant does not let its users
// write, or misses. What was there before is no reason to refuse something else.
func judgeMetadata(r Request, f Facts, t *capsulev1beta2.Tenant) Decision {
	if r.Operation == admissionv1.Delete || r.Subresource == "finalize" || r.Old != nil && r.Old.DeletionTimestamp != nil {
		return Decision{}
	}
	old := r.Old
	if old == nil {
		old = &metav1.PartialObjectMetadata{}
	}
	managed := tenant.NamespaceMetadata(t, r.Name, r.New.Labels)
	var options capsulev1beta2.NamespaceOptions
	if t.Spec.NamespaceOptions != nil {
		options = *t.Spec.NamespaceOptions
	}
	required := capsulev1beta2.RequiredMetadata{}
	if options.RequiredMetadata != nil {
		required = *options.RequiredMetadata
	}
	for _, m := range []struct {
		what, reason string
		old, new     map[string]string
		managed      map[string]string
		forbidden    *capsulev1beta2.ForbiddenList
		required     map[string]string
	}{
		{"label", reasonForbiddenLabel, old.Labels, r.New.Labels, managed.Labels, options.ForbiddenLabels, required.Labels},
		{"annotation", reasonForbiddenAnnotation, old.Annotations, r.New.Annotations, managed.Annotations, options.ForbiddenAnnotations, required.Annotations},
	} {
		if f.Requester == tenant.CapsuleUser {
			if keys := tenant.Forbidden(m.forbidden, changed(m.old, m.new, m.managed)); len(keys) > 0 {
				return refuse("tenant %q does not let its users set the %s %s of %s: leave it as it is, or ask a cluster administrator",
					t.Name, m.what, list(keys, "", "and"), r).on(t, m.reason, r.User)
			}
			if key := disturbed(m.old, m.new, m.managed); key != "" {
				return refuse("the %s %q of %s is set by tenant %q, to %q: leave it as it is, or ask a cluster administrator to change the Tenant",
					m.what, key, r, t.Name, m.managed[key]).on(t, m.reason, r.User)
			}
		}
		// The Tenant's own values come after the request.
		with := maps.Clone(m.new)
		if with == nil {
			with = map[string]string{}
		}
		maps.Copy(with, m.managed)
		key, pattern := tenant.Missing(m.required, with)
		if key == "" {
			continue
		}
		// It lacked it before: it may still be changed otherwise.
		if r.Operation == admissionv1.Update && m.old[key] == m.new[key] {
			continue
		}
		return refuse("%s needs the %s %q with a value that matches %q: tenant %q requires it", r, m.what, key, pattern, t.Name).
			on(t, reasonForbiddenMetadata, r.User)
	}
	// What the Tenant gave is told from what its users did by who applied it, so that
	// it goes when the Tenant wants it no more.
	if f.Requester == tenant.CapsuleUser && !objects.SameApplied(old, r.New) {
		return refuse("the managedFields of the manager %q in %s say what tenant %q gave it: leave them as they are, "+
			"and write by another field manager. If you did not touch them, try again", objects.FieldManager, r, t.Name).
			on(t, reasonForbiddenMetadata, r.User)
	}
	return Decision{}
}

// changed returns the keys that are set or have another value, but for those of the
// Tenant, in order.
func changed(old, present, managed map[string]string) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(present)) {
		if was, ok := old[key]; ok && was == present[key] {
			continue
		}
		if value, ok := managed[key]; ok && value == present[key] || key == capsulev1beta2.TenantLabel || key == nameLabel {
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

const nameLabel = "kubernetes.io/metadata.name"

// disturbed returns the first of the Tenant's keys, in order, that is changed to
// something else than what the Tenant says, or removed.
func disturbed(old, present, managed map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(managed)) {
		is, ok := present[key]
		was, had := old[key]
		if ok == had && is == was || ok && is == managed[key] {
			continue
		}
		return key
	}
	return ""
}
