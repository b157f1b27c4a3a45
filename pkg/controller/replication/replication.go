// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Name is the name of the controller.
const Name = "replication"

const (
	defaultResync = time.Minute
	// minResync keeps a subject from keeping the controller busy.
	minResync = 5 * time.Second
	// conflictDelay is how long a subject is left alone that somebody else just
	// changed.
	conflictDelay = 100 * time.Millisecond
	// restFactor is how many times as long as it took to look at a subject it is left
	// alone then, whatever asks for it.
	restFactor = 10
)

// reconciler is that of one kind of subjects.
type reconciler struct {
	client.Client
	kind  kind
	clock clock.PassiveClock
	kinds *kinds
	// as returns a client that acts as a service account.
	as func(account) (client.Client, error)
	// configuration is the name of the CapsuleConfiguration that counts.
	configuration string
	applied       *memory
	turns         *turns
	room          *room
}

// Reconcile makes the objects of one subject what they should be.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if of := r.whose(ctx, request); of != "" {
		if !r.turns.take(of, request) {
			return reconcile.Result{RequeueAfter: turnAfter}, nil
		}
		defer r.turns.end(of)
	}
	object := r.kind.newObject()
	if err := r.Get(ctx, request.NamespacedName, object); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("get %s: %w", r.kind.gvk.Kind, err)
		}
		r.applied.forget(request.NamespacedName, "", "")
		return reconcile.Result{}, nil
	}
	s := r.kind.subject(object)
	s.stored = s.deepCopy()
	r.applied.forget(request.NamespacedName, s.GetUID(), s.GetAnnotations()[capsulev1beta2.ReconcileAnnotation])
	if rest := r.applied.rest(request.NamespacedName).Sub(r.clock.Now()); rest > 0 && s.GetDeletionTimestamp() == nil {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	err := r.reconcile(ctx, s)
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		// Its next event may be here already, or not yet.
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	case err != nil:
		return reconcile.Result{}, err
	case s.GetDeletionTimestamp() != nil && len(s.status.ProcessedItems) == 0:
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: s.resync()}, nil
}

// resync returns when a subject is to be looked at again: not all of those that were
// written at once do so at once.
func (s *subject) resync() time.Duration { return wait.Jitter(s.period()*9/10, 2.0/9) }

func (s *subject) period() time.Duration {
	if s.spec.ResyncPeriod == nil {
		return defaultResync
	}
	return max(s.spec.ResyncPeriod.Duration, minResync)
}

// reconcile returns an error if the subject itself could not be read or written. All
// else goes into its status.
func (r *reconciler) reconcile(ctx context.Context, s *subject) error {
	if err := r.dropLegacyFinalizer(ctx, s); err != nil {
		return err
	}
	if s.GetDeletionTimestamp() != nil {
		return r.finalize(ctx, s)
	}
	if s.spec.Cordoned {
		s.setCordoned(true, r.clock.Now())
		s.status.ObservedGeneration = s.GetGeneration()
		return r.writeStatus(ctx, s)
	}
	s.setCordoned(false, r.clock.Now())
	failure, err := r.replicate(ctx, s)
	if err != nil {
		return err
	}
	s.setReady(failure, r.clock.Now())
	s.status.ObservedGeneration = s.GetGeneration()
	if err := r.writeStatus(ctx, s); err != nil {
		return err
	}
	return r.updateFinalizer(ctx, s)
}

// replicate does what the spec asks for. It returns what of that failed, and an error
// like reconcile.
func (r *reconciler) replicate(ctx context.Context, s *subject) (failure, err error) {
	if failure, err := r.waitsFor(ctx, s); failure != nil || err != nil {
		return failure, err
	}
	reach, err := s.reach(ctx, r)
	if failure := asFailure(err); failure != nil {
		return failure, nil
	}
	if err != nil {
		return nil, err
	}
	s.setTenants(reach.tenants)
	as, failure, err := r.identity(ctx, s)
	if failure != nil || err != nil {
		return failure, err
	}
	place, err := r.room.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	defer place.leave()
	began := r.clock.Now()
	defer func() {
		now := r.clock.Now()
		r.applied.setRest(client.ObjectKeyFromObject(s), now.Add(restFactor*now.Sub(began)))
	}()
	p := r.plan(ctx, s, as, reach)
	place.shrink(p.bytes)
	if p.tooLarge != nil {
		return p.tooLarge, nil
	}
	if err := r.announce(ctx, s, p); err != nil {
		return nil, err
	}
	present := entriesByKey(s.status.ProcessedItems)
	entries, failures := r.applyAll(ctx, s, as, p, present)
	kept, pruned := r.prune(ctx, s, as, p, present)
	s.setEntries(append(entries, kept...))
	return summary(slices.Concat(p.failures, failures, pruned)), nil
}

// finalize does what is asked for when the subject is deleted.
func (r *reconciler) finalize(ctx context.Context, s *subject) error {
	if !controllerutil.ContainsFinalizer(s, capsulev1beta2.Finalizer) {
		return nil
	}
	if s.setEntries(r.stillThere(ctx, s)); len(s.status.ProcessedItems) > 0 {
		as, failure, err := r.lastIdentity(ctx, s)
		if err != nil {
			return err
		}
		if failure == nil {
			kept, failures := r.prune(ctx, s, as, &plan{}, entriesByKey(s.status.ProcessedItems))
			s.setEntries(kept)
			failure = summary(failures)
		}
		s.setReady(failure, r.clock.Now())
		if err := r.writeStatus(ctx, s); err != nil {
			return err
		}
	}
	return r.updateFinalizer(ctx, s)
}

// waitsFor returns a failure if a subject that this one depends on is not ready.
func (r *reconciler) waitsFor(ctx context.Context, s *subject) (failure, err error) {
	var waiting []string
	for _, dependency := range s.spec.DependsOn {
		object := r.kind.newObject()
		err := r.Get(ctx, types.NamespacedName{Namespace: s.GetNamespace(), Name: dependency.Name}, object)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get %s %s: %w", r.kind.gvk.Kind, dependency.Name, err)
		}
		if err != nil || !r.kind.subject(object).isReady() {
			waiting = append(waiting, dependency.Name)
		}
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	return &failureError{reasonDependency, fmt.Sprintf("spec.dependsOn: waiting until ready: %s", strings.Join(waiting, ", "))}, nil
}

// announce writes down what is about to be written.
func (r *reconciler) announce(ctx context.Context, s *subject, p *plan) error {
	if len(p.items) == 0 {
		return nil
	}
	if err := r.updateFinalizerTo(ctx, s, true); err != nil {
		return err
	}
	present := entriesByKey(s.status.ProcessedItems)
	entries := s.status.ProcessedItems
	for _, key := range p.keys() {
		if _, ok := present[key]; !ok {
			entries = append(entries, p.items[key].entry())
		}
	}
	if len(entries) == len(s.status.ProcessedItems) {
		return nil
	}
	log.FromContext(ctx).V(2).Info("Announce objects", "objects", len(entries)-len(s.status.ProcessedItems))
	s.setEntries(entries)
	return r.writeStatus(ctx, s)
}

// updateFinalizer holds the subject as long as there are objects of it.
func (r *reconciler) updateFinalizer(ctx context.Context, s *subject) error {
	return r.updateFinalizerTo(ctx, s, len(s.status.ProcessedItems) > 0)
}

func (r *reconciler) updateFinalizerTo(ctx context.Context, s *subject, wanted bool) error {
	if controllerutil.ContainsFinalizer(s, capsulev1beta2.Finalizer) == wanted {
		return nil
	}
	if wanted {
		controllerutil.AddFinalizer(s, capsulev1beta2.Finalizer)
	} else {
		controllerutil.RemoveFinalizer(s, capsulev1beta2.Finalizer)
	}
	return r.writeFinalizers(ctx, s)
}

// dropLegacyFinalizer takes off what an earlier operator of these kinds put on.
func (r *reconciler) dropLegacyFinalizer(ctx context.Context, s *subject) error {
	if !controllerutil.RemoveFinalizer(s, capsulev1beta2.LegacyResourcesFinalizer) {
		return nil
	}
	return r.writeFinalizers(ctx, s)
}

// Add registers the controllers of both kinds. The CapsuleConfiguration of that name
// says as whom they act where a subject does not.
func Add(mgr ctrl.Manager, configuration string) error {
	shared := mgr.GetHTTPClient()
	if shared == nil || shared.Transport == nil {
		return errors.New("the manager has no transport")
	}
	options := client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()}
	var errs []error
	kinds, room := newKinds(mgr.GetRESTMapper(), clock.RealClock{}), newRoom()
	for _, kind := range []kind{localKind(), globalKind()} {
		r := &reconciler{
			Client: mgr.GetClient(), kind: kind, clock: clock.RealClock{}, kinds: kinds,
			as: newClients(mgr.GetConfig(), shared.Transport, options, kind.extra).as, configuration: configuration, applied: newMemory(), turns: newTurns(), room: room,
		}
		errs = append(errs, r.watch(mgr))
	}
	return errors.Join(errs...)
}
