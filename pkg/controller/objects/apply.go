// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ForeignError is about an object that has a name which the controller needs, says
// something else than it should, and was not made by the controller.
type ForeignError struct {
	Kind string
	Key  client.ObjectKey
}

func (e *ForeignError) Error() string {
	// Users of the namespace may not: the name is reserved.
	return fmt.Sprintf("%s %s exists and is not the controller's: a cluster administrator has to delete it", e.Kind, Name(e.Key))
}

// Applier writes objects as they are wanted to be, as the one field manager.
type Applier struct {
	client.Client
	// Live reads from the API server.
	Live client.Reader
}

// Make makes an object that is not among the cached ones. Where there is one all the
// same it does what ApplyUnknown does. To create an object takes the API server half
// the time of applying it; it is applied from its first change on.
func (a Applier) Make(ctx context.Context, object client.Object, wanted runtime.ApplyConfiguration, kind schema.GroupVersionKind) error {
	err := a.Create(ctx, object, client.FieldOwner(FieldManager))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.ApplyUnknown(ctx, wanted, kind, client.ObjectKeyFromObject(object))
}

// ApplyKnown applies what is wanted of an object that is known to be the
// controller's: it takes fields back from whoever changed them. What the object is
// its managedFields have to say as far as they are the controller's.
func (a Applier) ApplyKnown(ctx context.Context, wanted runtime.ApplyConfiguration, kind schema.GroupVersionKind, is client.Object) error {
	if slices.ContainsFunc(is.GetManagedFields(), isCreated) {
		present, err := a.present(ctx, kind, client.ObjectKeyFromObject(is))
		if err != nil {
			return err
		}
		return a.take(ctx, wanted, present)
	}
	return a.Apply(ctx, wanted, client.FieldOwner(FieldManager), client.ForceOwnership)
}

// ApplyUnknown applies what is wanted of an object that is not among the cached
// ones. It makes the object, or adopts one that says the same already. One that
// says something else is changed only if the controller has made it once, whatever
// became of its labels; else the error is a ForeignError.
func (a Applier) ApplyUnknown(ctx context.Context, wanted runtime.ApplyConfiguration, kind schema.GroupVersionKind, key client.ObjectKey) error {
	err := a.Apply(ctx, wanted, client.FieldOwner(FieldManager))
	if !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return err
	}
	present, err := a.present(ctx, kind, key)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(present.GetManagedFields(), isOwn) {
		return &ForeignError{kind.Kind, key}
	}
	return a.take(ctx, wanted, present)
}

func (a Applier) present(ctx context.Context, kind schema.GroupVersionKind, key client.ObjectKey) (*metav1.PartialObjectMetadata, error) {
	present := Metadata(kind)
	if err := a.Live.Get(ctx, key, present); err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind.Kind, Name(key), err)
	}
	return present, nil
}

// take applies what is wanted of an object that is there. What the controller
// created is made what it applied before, or it would keep what is not wanted any
// more.
func (a Applier) take(ctx context.Context, wanted runtime.ApplyConfiguration, present *metav1.PartialObjectMetadata) error {
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(present, sets.New(FieldManager), FieldManager)
	if err != nil {
		return fmt.Errorf("read managed fields: %w", err)
	}
	if len(patch) > 0 {
		if err := a.Patch(ctx, present, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldManager)); err != nil {
			return fmt.Errorf("write managed fields: %w", err)
		}
	}
	return a.Apply(ctx, wanted, client.FieldOwner(FieldManager), client.ForceOwnership)
}

// ApplyStatus applies the status of an object of ours, in the life that it has. What
// others wrote into the status, in fields that this one leaves out, stays.
func (a Applier) ApplyStatus(ctx context.Context, kind schema.GroupVersionKind, object metav1.Object, status any) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	wanted := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	wanted.SetGroupVersionKind(kind)
	wanted.SetName(object.GetName())
	wanted.SetUID(object.GetUID())
	return a.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// DeleteExactly deletes this very object, not one that has got its name since.
// That it is gone already is no error.
func (a Applier) DeleteExactly(ctx context.Context, object client.Object) error {
	uid := object.GetUID()
	return client.IgnoreNotFound(a.Delete(ctx, object, client.Preconditions{UID: &uid}))
}

// IsNamespaceGone reports whether an error says that the namespace that was to be
// written to is, or will be, gone.
func IsNamespaceGone(err error) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return true
	}
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// Name returns a key as it is written in messages.
func Name(key client.ObjectKey) string {
	if key.Namespace == "" {
		return key.Name
	}
	return key.String()
}

// isOwn reports whether an entry of managedFields is of what the controller created
// or applied.
func isOwn(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == FieldManager && entry.Subresource == ""
}

// isCreated reports whether it is of what the controller created.
func isCreated(entry metav1.ManagedFieldsEntry) bool {
	return isOwn(entry) && entry.Operation == metav1.ManagedFieldsOperationUpdate
}

// isApplied reports whether it is of what the controller applied.
func isApplied(entry metav1.ManagedFieldsEntry) bool {
	return isOwn(entry) && entry.Operation == metav1.ManagedFieldsOperationApply
}

// HasMetadata reports whether an object of the controller has the labels and
// annotations that are wanted, and no others that the controller gave it. Those of
// others are left alone. Which is which the object's managedFields say.
func HasMetadata(object metav1.Object, labels, annotations map[string]string) bool {
	return hasOnly(object, isOwn, "f:labels", object.GetLabels(), labels) &&
		hasOnly(object, isOwn, "f:annotations", object.GetAnnotations(), annotations)
}

// HasApplied is HasMetadata for namespaces. The controller creates none and applies
// what it gives them: an entry of another operation in its name is of somebody else,
// which to apply anything would not change.
func HasApplied(namespace metav1.Object, labels, annotations map[string]string) bool {
	return hasOnly(namespace, isApplied, "f:labels", namespace.GetLabels(), labels) &&
		hasOnly(namespace, isApplied, "f:annotations", namespace.GetAnnotations(), annotations)
}

func hasOnly(object metav1.Object, is func(metav1.ManagedFieldsEntry) bool, field string, present, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := present[key]; !ok || got != value {
			return false
		}
	}
	if len(present) == len(wanted) {
		return true
	}
	own := keysOf(object, field, is)
	for key := range present {
		if _, ok := wanted[key]; !ok && own.Has(key) {
			return false
		}
	}
	return true
}

// SameApplied reports whether the controller applied the same labels and annotations
// to two states of a namespace.
func SameApplied(a, b metav1.Object) bool {
	return keysOf(a, "f:labels", isApplied).Equal(keysOf(b, "f:labels", isApplied)) &&
		keysOf(a, "f:annotations", isApplied).Equal(keysOf(b, "f:annotations", isApplied))
}

// LabelsOfOthers returns the labels of a namespace without those that the controller
// applied.
func LabelsOfOthers(namespace metav1.Object) map[string]string {
	own := keysOf(namespace, "f:labels", isApplied)
	others := maps.Clone(namespace.GetLabels())
	maps.DeleteFunc(others, func(key, _ string) bool { return own.Has(key) })
	return others
}

// Own returns the labels and annotations that the controller applied to a namespace.
func Own(namespace metav1.Object) (labels, annotations map[string]string) {
	pick := func(field string, present map[string]string) map[string]string {
		own := keysOf(namespace, field, isApplied)
		if len(own) == 0 {
			return nil
		}
		picked := maps.Clone(present)
		maps.DeleteFunc(picked, func(key, _ string) bool { return !own.Has(key) })
		return picked
	}
	return pick("f:labels", namespace.GetLabels()), pick("f:annotations", namespace.GetAnnotations())
}

// keysOf returns the keys below a field of the metadata that entries of managedFields
// name.
func keysOf(object metav1.Object, field string, is func(metav1.ManagedFieldsEntry) bool) sets.Set[string] {
	keys := sets.New[string]()
	for _, entry := range object.GetManagedFields() {
		if !is(entry) || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata map[string]map[string]json.RawMessage `json:"f:metadata"`
		}
		// What cannot be read claims nothing: the worst is a label too many.
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for name := range fields.Metadata[field] {
			if key, ok := strings.CutPrefix(name, "f:"); ok {
				keys.Insert(key)
			}
		}
	}
	return keys
}
