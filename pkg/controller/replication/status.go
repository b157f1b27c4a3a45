// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

// Reasons of the condition Ready beside those that all kinds have.
const (
	reasonNoTenant   = "NoTenant"
	reasonNoAccount  = "NoServiceAccount"
	reasonDependency = "DependencyNotReady"
)

const (
	// maxMessages is for how many items a status says what went wrong, and
	// maxMessage how long a message may be: a status is part of an object.
	maxMessages, maxMessage = 100, 512
	// maxNamed is how many failures the condition names.
	maxNamed = 3
)

const fieldOwner = client.FieldOwner(objects.FieldManager)

// failureError is about what keeps a subject from being ready, until somebody does
// something about it or the next look.
type failureError struct {
	reason, message string
}

func (e *failureError) Error() string { return e.message }

// asFailure returns the failureError that an error is, or nil.
func asFailure(err error) error {
	if failure, ok := errors.AsType[*failureError](err); ok {
		return failure
	}
	return nil
}

// summary returns one failure that names some, or nil.
func summary(failures []error) error {
	if len(failures) == 0 {
		return nil
	}
	var messages []string
	for _, err := range failures[:min(len(failures), maxNamed)] {
		messages = append(messages, oneLine(err))
	}
	if more := len(failures) - maxNamed; more > 0 {
		messages = append(messages, fmt.Sprintf("and %d more", more))
	}
	return &failureError{capsulev1beta2.FailedReason, strings.Join(messages, "; ")}
}

// oneLine returns what an error says as conditions are read: in one line.
func oneLine(err error) string {
	message := strings.Join(strings.Fields(err.Error()), " ")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return message
}

// setReady says whether all is as it should be: there is no failure.
func (s *subject) setReady(failure error, now time.Time) {
	condition := metav1.Condition{
		Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionTrue, Reason: capsulev1beta2.SucceededReason,
		Message: fmt.Sprintf("%d objects are as they should be", s.status.Size),
	}
	if failure != nil {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, capsulev1beta2.FailedReason, oneLine(failure)
		if f, ok := errors.AsType[*failureError](failure); ok {
			condition.Reason, condition.Message = f.reason, f.message
		}
	}
	s.setCondition(condition, now)
}

// setCordoned says whether the objects are left alone.
func (s *subject) setCordoned(cordoned bool, now time.Time) {
	condition := metav1.Condition{
		Type: capsulev1beta2.CordonedCondition, Status: metav1.ConditionFalse, Reason: capsulev1beta2.ActiveReason,
		Message: "the objects are kept as they should be",
	}
	if cordoned {
		condition.Status, condition.Reason = metav1.ConditionTrue, capsulev1beta2.CordonedReason
		condition.Message = "spec.cordoned: the objects are left alone"
	}
	s.setCondition(condition, now)
}

func (s *subject) setCondition(condition metav1.Condition, now time.Time) {
	condition.ObservedGeneration = s.GetGeneration()
	// The API server keeps whole seconds.
	condition.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(&s.status.Conditions, condition)
}

// isReady reports whether the present spec is known to be in effect.
func (s *subject) isReady() bool {
	ready := meta.FindStatusCondition(s.status.Conditions, capsulev1beta2.ReadyCondition)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == s.GetGeneration()
}

// setEntries says which objects there are.
func (s *subject) setEntries(entries []capsulev1beta2.ProcessedItem) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b capsulev1beta2.ProcessedItem) int { return compareKeys(keyOf(&a), keyOf(&b)) })
	messages := 0
	for i := range entries {
		if entries[i].Status.Message == "" {
			continue
		}
		if messages++; messages > maxMessages {
			entries[i].Status.Message = ""
		}
	}
	s.status.ProcessedItems = entries
	s.status.Size = uint32(len(entries))
}

// keyOf returns the key of the object that an entry is about.
func keyOf(entry *capsulev1beta2.ProcessedItem) itemKey {
	return itemKey{namespace: entry.Namespace, group: entry.Group, kind: entry.Kind, name: entry.Name}
}

func compareKeys(a, b itemKey) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.group, b.group),
		cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}

func entriesByKey(entries []capsulev1beta2.ProcessedItem) map[itemKey]*capsulev1beta2.ProcessedItem {
	byKey := make(map[itemKey]*capsulev1beta2.ProcessedItem, len(entries))
	for i := range entries {
		byKey[keyOf(&entries[i])] = &entries[i]
	}
	return byKey
}

// writeStatus writes the status if it is another than was read, and nobody has
// written the subject since: else the error is a conflict.
func (r *reconciler) writeStatus(ctx context.Context, s *subject) error {
	if equality.Semantic.DeepEqual(s.Object, s.stored) {
		return nil
	}
	log.FromContext(ctx).V(2).Info("Write status", "items", s.status.Size)
	written := s.deepCopy()
	patch := client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, written, patch, fieldOwner); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	s.SetResourceVersion(written.GetResourceVersion())
	s.stored = s.deepCopy()
	return nil
}

// writeFinalizers does the same for the finalizers.
func (r *reconciler) writeFinalizers(ctx context.Context, s *subject) error {
	written, ok := s.stored.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", s.stored)
	}
	written.SetFinalizers(s.GetFinalizers())
	patch := client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{})
	if err := r.Patch(ctx, written, patch, fieldOwner); err != nil {
		return fmt.Errorf("write finalizers: %w", err)
	}
	s.SetResourceVersion(written.GetResourceVersion())
	s.stored.SetFinalizers(s.GetFinalizers())
	s.stored.SetResourceVersion(written.GetResourceVersion())
	return nil
}
