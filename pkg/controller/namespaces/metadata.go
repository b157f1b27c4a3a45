// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespaces

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// metadataOf returns what a namespace should carry. Its Tenant is nil if it has none.
// What it carries for its Tenant already selects nothing: a list item could select by
// a label that it gives or takes, and would never come to rest.
func metadataOf(t *capsulev1beta2.Tenant, namespace client.Object) tenant.Metadata {
	if t == nil {
		return tenant.Metadata{}
	}
	return tenant.NamespaceMetadata(t, namespace.GetName(), objects.LabelsOfOthers(namespace))
}

// surplus returns the labels and annotations that a Tenant does not let a namespace
// carry.
func surplus(t *capsulev1beta2.Tenant, namespace client.Object, wanted tenant.Metadata) (labels, annotations map[string]any) {
	if t == nil || !tenant.ManagesMetadataOnly(t) {
		return nil, nil
	}
	pick := func(present, wanted map[string]string) map[string]any {
		remove := map[string]any{}
		for key := range present {
			if _, ok := wanted[key]; !ok && !tenant.IsCore(key) {
				remove[key] = nil
			}
		}
		return remove
	}
	return pick(namespace.GetLabels(), wanted.Labels), pick(namespace.GetAnnotations(), wanted.Annotations)
}

// carries reports whether a namespace carries what it should.
func carries(t *capsulev1beta2.Tenant, namespace client.Object) bool {
	wanted := metadataOf(t, namespace)
	labels, annotations := surplus(t, namespace, wanted)
	return len(labels)+len(annotations) == 0 && objects.HasApplied(namespace, wanted.Labels, wanted.Annotations)
}

// mark makes a namespace carry what it should. It is applied, so that what a Tenant
// does not want any more goes, and what others have written stays.
func (r *reconciler) mark(ctx context.Context, t *capsulev1beta2.Tenant, namespace *metav1.PartialObjectMetadata) error {
	wanted := metadataOf(t, namespace)
	labels, annotations := surplus(t, namespace, wanted)
	if len(labels)+len(annotations) > 0 {
		log.FromContext(ctx).V(4).Info("Remove metadata that is not the Tenant's", "labels", len(labels), "annotations", len(annotations))
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": namespace.UID, "resourceVersion": namespace.ResourceVersion, "labels": labels, "annotations": annotations,
		}})
		if err != nil {
			return fmt.Errorf("encode patch: %w", err)
		}
		object := objects.Metadata(objects.NamespaceKind)
		object.Name = namespace.Name
		if err := r.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(objects.FieldManager)); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("remove metadata: %w", err))
		}
	}
	if objects.HasApplied(namespace, wanted.Labels, wanted.Annotations) {
		return nil
	}
	log.FromContext(ctx).V(4).Info("Write metadata", "labels", len(wanted.Labels), "annotations", len(wanted.Annotations))
	// With its UID, for a name alone would make a namespace that is gone.
	configuration := corev1ac.Namespace(namespace.Name).WithUID(namespace.UID).
		WithLabels(wanted.Labels).WithAnnotations(wanted.Annotations)
	if err := r.Apply(ctx, configuration, client.FieldOwner(objects.FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return nil
}
