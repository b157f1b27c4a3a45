// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

// prune gives up what was written and is not wanted any more. It returns the entries
// of what is left, and why.
func (r *reconciler) prune(ctx context.Context, s *subject, as identity, p *plan, present map[itemKey]*capsulev1beta2.ProcessedItem) (kept []capsulev1beta2.ProcessedItem, failures []error) {
	giveUp := r.writer(s, as).remove
	if s.GetDeletionTimestamp() != nil && s.spec.PruningOnDelete != nil && !*s.spec.PruningOnDelete {
		giveUp = r.writer(s, as).detach
	}
	leftovers := (&plan{items: p.items}).without(present)
	errs := make([]error, len(leftovers))
	var group errgroup.Group
	group.SetLimit(writesAtOnce)
	blind := make([]bool, len(leftovers))
	for i, entry := range leftovers {
		group.Go(func() error {
			blind[i] = p.isBlind(entry.Namespace) && r.mayBeWanted(ctx, entry.Namespace)
			if !blind[i] {
				errs[i] = r.giveUp(ctx, entry, giveUp)
			}
			return nil
		})
	}
	_ = group.Wait() // failures are in errs
	for i, entry := range leftovers {
		switch {
		case errs[i] != nil:
			left := *entry
			left.Status.Status, left.Status.Message = metav1.ConditionFalse, oneLine(errs[i])
			kept = append(kept, left)
			failures = append(failures, fmt.Errorf("remove %s %s/%s: %w", entry.Kind, entry.Namespace, entry.Name, errs[i]))
		case blind[i]:
			kept = append(kept, *entry)
		default:
			r.applied.drop(client.ObjectKeyFromObject(s), keyOf(entry))
		}
	}
	return kept, failures
}

// without returns the entries of what a plan does not want, in order.
func (p *plan) without(present map[itemKey]*capsulev1beta2.ProcessedItem) []*capsulev1beta2.ProcessedItem {
	var leftovers []*capsulev1beta2.ProcessedItem
	for key, entry := range present {
		if _, ok := p.items[key]; !ok {
			leftovers = append(leftovers, entry)
		}
	}
	slices.SortFunc(leftovers, func(a, b *capsulev1beta2.ProcessedItem) int { return compareKeys(keyOf(a), keyOf(b)) })
	return leftovers
}

// mayBeWanted reports whether there can be objects in a namespace at all: in one that
// is being deleted, or is no more, nothing has to be given up.
func (r *reconciler) mayBeWanted(ctx context.Context, name string) bool {
	if name == "" {
		return true
	}
	namespace := objects.Metadata(objects.NamespaceKind)
	err := r.Get(ctx, client.ObjectKey{Name: name}, namespace, client.UnsafeDisableDeepCopy)
	return err == nil && namespace.DeletionTimestamp == nil || client.IgnoreNotFound(err) != nil
}

// stillThere returns the entries of what may be there: not of what was in namespaces
// that are being deleted, or are no more. To know that takes no service account.
func (r *reconciler) stillThere(ctx context.Context, s *subject) []capsulev1beta2.ProcessedItem {
	wanted := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(s.status.ProcessedItems), func(entry capsulev1beta2.ProcessedItem) bool {
		known, ok := wanted[entry.Namespace]
		if !ok {
			known = r.mayBeWanted(ctx, entry.Namespace)
			wanted[entry.Namespace] = known
		}
		return !known
	})
}

func (r *reconciler) giveUp(ctx context.Context, entry *capsulev1beta2.ProcessedItem, how func(context.Context, *capsulev1beta2.ProcessedItem) error) error {
	if !r.mayBeWanted(ctx, entry.Namespace) {
		return nil
	}
	err := how(ctx, entry)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || objects.IsNamespaceGone(err) {
		// There is no such object, nor can there be.
		return nil
	}
	return err
}

// left returns the metadata of an object that was written, as far as it is still
// there and of the subject, and whether it was made here.
func (w *writer) left(ctx context.Context, entry *capsulev1beta2.ProcessedItem) (present *metav1.PartialObjectMetadata, created bool, err error) {
	present, err = w.present(ctx, keyOf(entry), entry.Version)
	if err != nil || present == nil {
		return nil, false, err
	}
	own := ownEntry(present, w.manager)
	if own == nil && !w.applied.knows(w.subject, keyOf(entry), present.UID) {
		return nil, false, nil
	}
	return present, entry.Status.Created || isMade(present, own), nil
}

// remove deletes an object that was made here, this very one, and takes back what was
// applied to one that was not.
func (w *writer) remove(ctx context.Context, entry *capsulev1beta2.ProcessedItem) error {
	present, created, err := w.left(ctx, entry)
	if err != nil || present == nil || present.DeletionTimestamp != nil {
		return w.explain(err)
	}
	if created {
		log.FromContext(ctx).V(2).Info("Delete object", "kind", entry.Kind, "object", entry.Namespace+"/"+entry.Name, "serviceAccount", w.account.String())
		err := w.Delete(ctx, present, client.Preconditions{UID: &present.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if apierrors.IsConflict(err) {
			return nil // another one has its name
		}
		return w.explain(err)
	}
	log.FromContext(ctx).V(2).Info("Release object", "kind", entry.Kind, "object", entry.Namespace+"/"+entry.Name, "serviceAccount", w.account.String())
	nothing := &unstructured.Unstructured{}
	nothing.SetGroupVersionKind(present.GroupVersionKind())
	nothing.SetNamespace(present.Namespace)
	nothing.SetName(present.Name)
	nothing.SetUID(present.UID)
	return w.explain(w.Apply(ctx, client.ApplyConfigurationFromUnstructured(nothing), client.FieldOwner(w.manager)))
}

// detach takes off what says that an object is of the subject, and leaves the rest.
func (w *writer) detach(ctx context.Context, entry *capsulev1beta2.ProcessedItem) error {
	present, created, err := w.left(ctx, entry)
	if err != nil || present == nil || present.DeletionTimestamp != nil {
		return w.explain(err)
	}
	log.FromContext(ctx).V(2).Info("Detach object", "kind", entry.Kind, "object", entry.Namespace+"/"+entry.Name, "serviceAccount", w.account.String())
	detached := present.DeepCopy()
	delete(detached.Labels, capsulev1beta2.ManagedByLabel)
	if created {
		for label := range w.labels {
			delete(detached.Labels, label)
		}
	}
	detached.ManagedFields = slices.DeleteFunc(detached.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return isOwn(e, w.manager) })
	if len(detached.ManagedFields) == 0 {
		// No entry at all would mean to leave them as they are.
		detached.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	}
	patch := client.MergeFromWithOptions(present, client.MergeFromWithOptimisticLock{})
	return w.explain(w.Patch(ctx, detached, patch, client.FieldOwner(w.manager)))
}
