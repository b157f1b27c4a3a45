// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	// replicatedByLabel is on what was made for a GlobalTenantResource. A policy keeps
	// tenants from changing it.
	replicatedByLabel = "tenancy.capsule.io/replicated-by"
	// replicationExtra is part of the user as whom requests for a GlobalTenantResource
	// are made, and tells the policy: a service account has no more than its name, and
	// may be used by others.
	replicationExtra = "replication.tenancy.capsule.io"
)

// ownEntry returns the part of an object's managedFields that a field manager
// applied, or nil. There is none, either, when somebody has removed all that it
// applied.
func ownEntry(object metav1.Object, manager string) *metav1.ManagedFieldsEntry {
	entries := object.GetManagedFields()
	for i := range entries {
		if isOwn(entries[i], manager) {
			return &entries[i]
		}
	}
	return nil
}

func isOwn(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// isMade reports whether an object was made by the field manager that applied this
// part of it: its label says so, and the label is its own. There may be no such part.
func isMade(object metav1.Object, own *metav1.ManagedFieldsEntry) bool {
	if own == nil || own.FieldsV1 == nil || object.GetLabels()[capsulev1beta2.CreatedByLabel] != capsulev1beta2.ManagedByReplications {
		return false
	}
	var fields struct {
		Metadata struct {
			Labels map[string]json.RawMessage `json:"f:labels"`
		} `json:"f:metadata"`
	}
	if err := json.Unmarshal(own.FieldsV1.GetRawBytes(), &fields); err != nil {
		return false
	}
	_, ok := fields.Metadata.Labels["f:"+capsulev1beta2.CreatedByLabel]
	return ok
}

// isFieldConflict reports whether something was not applied because others set the
// fields.
func isFieldConflict(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict)
}
