// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

// writesAtOnce is how many objects of a subject are written at once.
const writesAtOnce = 8

// noVersion is the resourceVersion of no object: etcd's first write is its second
// revision. What is applied with it is made, or refused if it is there.
const noVersion = "1"

var (
	errForeign     = errors.New("somebody else made it: delete it, or set spec.settings.adopt to take it over")
	errTerminating = errors.New("it is being deleted")
	errUnsettled   = errors.New("it comes and goes")
)

// writer writes the objects of one subject.
type writer struct {
	identity

	manager string
	// labels are on what is made here.
	labels   map[string]any
	settings capsulev1beta2.ReplicationSettings
	clock    clock.PassiveClock
	// subject is the key under which applied remembers.
	subject types.NamespacedName
	applied *memory
	// recent is how long an object that was found right is not looked at again.
	recent time.Duration
}

func (r *reconciler) writer(s *subject, as identity) *writer {
	w := &writer{
		identity: as, manager: s.manager(), labels: r.kind.labels, clock: r.clock,
		subject: client.ObjectKeyFromObject(s), applied: r.applied, recent: s.period() * 8 / 10,
	}
	if s.spec.Settings != nil {
		w.settings = *s.spec.Settings
	}
	return w
}

// outcome is what became of an item.
type outcome struct {
	// created says whether the object was made here.
	created bool
	// written is when it was last changed, as far as is known.
	written *metav1.Time
	// gone says that its namespace is, or will be.
	gone bool
	err  error
}

// applyAll makes the items of a plan what they should be. It returns the entries for
// the status and what failed, each in the order of the keys.
func (r *reconciler) applyAll(ctx context.Context, s *subject, as identity, p *plan, present map[itemKey]*capsulev1beta2.ProcessedItem) (entries []capsulev1beta2.ProcessedItem, failures []error) {
	w, keys := r.writer(s, as), p.keys()
	outcomes := make([]outcome, len(keys))
	var group errgroup.Group
	group.SetLimit(writesAtOnce)
	for i, key := range keys {
		group.Go(func() error {
			outcomes[i] = w.write(ctx, p.items[key], present[key])
			return nil
		})
	}
	_ = group.Wait() // failures are outcomes
	for i, key := range keys {
		o := outcomes[i]
		if o.gone {
			r.applied.drop(w.subject, key)
			continue
		}
		entry := p.items[key].entry()
		entry.Status.Created, entry.Status.LastApply = o.created, o.written
		entry.Status.Status = metav1.ConditionTrue
		if o.err != nil {
			entry.Status.Status, entry.Status.Message = metav1.ConditionFalse, oneLine(o.err)
			failures = append(failures, fmt.Errorf("%s: %w", p.items[key], o.err))
		}
		entries = append(entries, entry)
	}
	return entries, failures
}

// write makes one object what it should be, if it is not.
func (w *writer) write(ctx context.Context, i *item, was *capsulev1beta2.ProcessedItem) outcome {
	var o outcome
	if was != nil {
		o.created, o.written = was.Status.Created, was.Status.LastApply
	}
	if i.err != nil {
		o.err = i.err
		return o
	}
	if was != nil && was.Status.Status == metav1.ConditionTrue && w.isRecent(i, o.created) {
		return o
	}
	err := w.place(ctx, i, &o)
	if objects.IsNamespaceGone(err) {
		return outcome{gone: true}
	}
	o.err = w.explain(err)
	return o
}

// isRecent reports whether the object was found right a short while ago: what comes
// and goes around a subject with many objects is no reason to look at each. Drift is
// looked for in each resyncPeriod.
func (w *writer) isRecent(i *item, created bool) bool {
	_, hash, err := i.wanted(w.labelsIf(created))
	return err == nil && w.applied.isRecent(w.subject, i.itemKey, hash, w.clock.Now().Add(-w.recent))
}

// place looks at the object, and makes or changes it. Somebody else may do so in
// between: then it looks once more.
func (w *writer) place(ctx context.Context, i *item, o *outcome) error {
	for range 3 {
		present, err := w.present(ctx, i.itemKey, i.version)
		if err != nil {
			return err
		}
		if present == nil {
			err = w.make(ctx, i, o)
		} else {
			err = w.change(ctx, i, present, o)
		}
		if !apierrors.IsConflict(err) || present != nil && isFieldConflict(err) {
			return err
		}
	}
	return errUnsettled
}

// present returns the metadata of an object, or nil if there is none.
func (w *writer) present(ctx context.Context, key itemKey, version string) (*metav1.PartialObjectMetadata, error) {
	present := objects.Metadata((&item{itemKey: key, version: version}).gvk())
	if err := w.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.name}, present); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return present, nil
}

// make makes an object. The error is a conflict if there is one.
func (w *writer) make(ctx context.Context, i *item, o *outcome) error {
	o.created, o.written = false, nil
	wanted, hash, err := i.wanted(w.labels)
	if err != nil {
		return err
	}
	wanted.SetResourceVersion(noVersion)
	log.FromContext(ctx).V(2).Info("Make object", "object", i.String(), "serviceAccount", w.account.String())
	if err := w.apply(ctx, wanted); err != nil {
		return err
	}
	o.created, o.written = true, w.now()
	w.applied.remember(w.subject, i.itemKey, revision{hash, wanted.GetUID(), wanted.GetResourceVersion()}, w.clock.Now())
	return nil
}

// change applies what is wanted of an object that is there, if it may be changed and
// is not known to be right. The error is a conflict if it is not that object any more.
func (w *writer) change(ctx context.Context, i *item, present *metav1.PartialObjectMetadata, o *outcome) error {
	own := ownEntry(present, w.manager)
	ours := own != nil || w.applied.knows(w.subject, i.itemKey, present.UID)
	o.created = ours && (o.created || isMade(present, own))
	switch {
	case !ours && !w.settings.Adopt:
		o.written = nil
		return errForeign
	case present.DeletionTimestamp != nil:
		return errTerminating
	case own != nil && o.written == nil:
		o.written = own.Time
	}
	wanted, hash, err := i.wanted(w.labelsIf(o.created))
	if err != nil {
		return err
	}
	if r := (revision{hash, present.UID, present.ResourceVersion}); w.applied.is(w.subject, i.itemKey, r) {
		w.applied.remember(w.subject, i.itemKey, r, w.clock.Now())
		return nil
	}
	wanted.SetUID(present.UID)
	if err := w.apply(ctx, wanted); err != nil {
		return err
	}
	if wanted.GetResourceVersion() != present.ResourceVersion {
		log.FromContext(ctx).V(2).Info("Changed object", "object", i.String(), "serviceAccount", w.account.String())
		o.written = w.now()
	}
	w.applied.remember(w.subject, i.itemKey, revision{hash, wanted.GetUID(), wanted.GetResourceVersion()}, w.clock.Now())
	return nil
}

// apply applies an object, which becomes what the API server stored.
func (w *writer) apply(ctx context.Context, wanted *unstructured.Unstructured) error {
	options := []client.ApplyOption{client.FieldOwner(w.manager)}
	if w.settings.Force {
		options = append(options, client.ForceOwnership)
	}
	return w.Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), options...)
}

// now returns the time as the API server keeps it.
func (w *writer) now() *metav1.Time {
	return new(metav1.NewTime(w.clock.Now().Truncate(time.Second)))
}

// labelsIf returns the labels of an object that was made here, if it was.
func (w *writer) labelsIf(created bool) map[string]any {
	if !created {
		return nil
	}
	return w.labels
}

// wanted returns what is applied of an item, with more labels, and a hash of it.
func (i *item) wanted(more map[string]any) (*unstructured.Unstructured, [sha256.Size]byte, error) {
	object := maps.Clone(i.object)
	metadata, _ := object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	labels, _ := metadata["labels"].(map[string]any)
	labels = maps.Clone(labels)
	maps.Copy(labels, more)
	metadata["labels"], object["metadata"] = labels, metadata
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("encode object: %w", err)
	}
	return &unstructured.Unstructured{Object: object}, sha256.Sum256(encoded), nil
}
