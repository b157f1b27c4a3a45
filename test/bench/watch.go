// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	fromRequest  = "request"
	fromResponse = "response"

	grantToAdded    = "grant -> ADDED"
	revokeToDeleted = "revoke -> DELETED"
	changeToEach    = "change -> each"
	changeToLast    = "change -> the last one"

	// accessLimit and eventLimit, in milliseconds, and residentLimit, in MiB, are
	// of the performance budget.
	accessLimit   = 100
	eventLimit    = 1000
	residentLimit = 300
)

// measureWatch measures what open watches get, when, and what they cost.
func measureWatch(ctx context.Context, e *environment, r *report) error {
	if err := e.seedWatchers(ctx); err != nil {
		return err
	}
	// What lists left behind is not for the watches to account for.
	if err := e.system.Server.Restart(ctx); err != nil {
		return fmt.Errorf("restart tenancy-apiserver: %w", err)
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	if _, err := e.reportMemory(r, resident, "before the watches"); err != nil {
		return err
	}
	for _, measure := range []func(context.Context, *environment, *report) error{
		measureOneWatch, measureWatches, measureStalled,
	} {
		if err := measure(ctx, e, r); err != nil {
			return err
		}
	}
	most, err := e.reportMemory(r, mostResident, "the most there was")
	if err != nil {
		return err
	}
	what := fmt.Sprintf("MEMORY, %s, %d watches: the most there was", e.size(), e.options.Watches)
	r.Targets = append(r.Targets, atMost(what, residentLimit, "MiB", once(most)))
	return nil
}

func measureOneWatch(ctx context.Context, e *environment, r *report) error {
	s, err := e.openWatches(ctx, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return e.measureAccess(ctx, s, r)
}

func measureWatches(ctx context.Context, e *environment, r *report) error {
	s, err := e.openWatches(ctx, e.options.Watches)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := e.reportMemory(r, resident, fmt.Sprintf("%d watches open", e.options.Watches)); err != nil {
		return err
	}
	if err := e.profile(ctx, fmt.Sprintf("%d-watches.heap.pprof", e.options.Watches), "heap"); err != nil {
		return err
	}
	if err := e.measureAccess(ctx, s, r); err != nil {
		return err
	}
	each, last := samples{}, samples{}
	for round := range e.options.Rounds {
		progress("WATCH, %d watches: events for all, round %d of %d", len(s.open), round+1, e.options.Rounds)
		roundEach, roundLast, err := e.announce(ctx, s, e.options.Events)
		if err != nil {
			return err
		}
		each, last = append(each, roundEach), append(last, roundLast)
	}
	r.Latencies = append(r.Latencies,
		each.ofWatches(changeToEach, len(s.open), fromRequest),
		last.ofWatches(changeToLast, len(s.open), fromRequest))
	what := fmt.Sprintf("WATCH, %d watches: %s, p99 from the %s", len(s.open), changeToLast, fromRequest)
	r.Targets = append(r.Targets, atMost(what, eventLimit, "ms", last.p99()))
	_, err = e.reportMemory(r, mostResident, fmt.Sprintf("%d watches that are read, the most there was", e.options.Watches))
	return err
}

// measureAccess grants a namespace to one user after the other and takes it away
// again, and times the events.
func (e *environment) measureAccess(ctx context.Context, s *streams, r *report) error {
	type key struct{ what, from string }
	keys := []key{{grantToAdded, fromRequest}, {grantToAdded, fromResponse}, {revokeToDeleted, fromRequest}, {revokeToDeleted, fromResponse}}
	all := map[key]samples{}
	sample := 0
	for round := range e.options.Rounds {
		progress("WATCH, %d watches: grants, round %d of %d", len(s.open), round+1, e.options.Rounds)
		millis := map[key][]float64{}
		for range e.options.Grants {
			granted, revoked, err := e.grant(ctx, s.open[sample%len(s.open)], grantTargetName(sample))
			if err != nil {
				return err
			}
			sample++
			for i, value := range []float64{granted.fromRequest, granted.fromResponse, revoked.fromRequest, revoked.fromResponse} {
				millis[keys[i]] = append(millis[keys[i]], value)
			}
		}
		for _, k := range keys {
			all[k] = append(all[k], millis[k])
		}
	}
	for _, k := range keys {
		r.Latencies = append(r.Latencies, all[k].ofWatches(k.what, len(s.open), k.from))
		if k.from == fromRequest {
			what := fmt.Sprintf("WATCH, %d watches: %s, p99 from the %s", len(s.open), k.what, k.from)
			r.Targets = append(r.Targets, atMost(what, accessLimit, "ms", all[k].p99()))
		}
	}
	return nil
}

// delay is the time to an event, in milliseconds: from just before the request
// that caused it, and from its response. The event may come before the response.
type delay struct {
	fromRequest, fromResponse float64
}

func delayUntil(at, start, responded time.Time) delay {
	return delay{fromRequest: millis(at.Sub(start)), fromResponse: millis(at.Sub(responded))}
}

// grant lets the user of a watch get a namespace, and takes it away again.
func (e *environment) grant(ctx context.Context, s *stream, namespace string) (granted, revoked delay, err error) {
	const name = "bench-grant"
	bindings := e.admin.RbacV1().RoleBindings(namespace)
	granted, err = timed(ctx, s, watch.Added, namespace, func(ctx context.Context) error {
		_, err := bindings.Create(ctx, bindingFor(name, namespace, rbacv1.UserKind, s.user), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return granted, revoked, err
	}
	revoked, err = timed(ctx, s, watch.Deleted, namespace, func(ctx context.Context) error {
		return bindings.Delete(ctx, name, metav1.DeleteOptions{})
	})
	return granted, revoked, err
}

// timed sends a request and awaits the event.
func timed(ctx context.Context, s *stream, kind watch.EventType, name string, request func(context.Context) error) (delay, error) {
	ctx, cancel := context.WithTimeout(ctx, eventWithin)
	defer cancel()
	start := time.Now()
	if err := request(ctx); err != nil {
		return delay{}, fmt.Errorf("send request: %w", err)
	}
	responded := time.Now()
	at, err := s.expect(ctx, kind, name)
	return delayUntil(at, start, responded), err
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }

// announce changes, so many times, a label of the namespace that everybody sees.
// It returns the milliseconds until each watch had each event, and until the last
// one had. A change is made when all have the one before.
func (e *environment) announce(ctx context.Context, s *streams, changes int) (each, last []float64, err error) {
	for range changes {
		e.announced++
		times, err := e.announceOnce(ctx, s, strconv.Itoa(e.announced))
		if err != nil {
			return nil, nil, err
		}
		each = append(each, times...)
		last = append(last, slices.Max(times))
	}
	return each, last, nil
}

func (e *environment) announceOnce(ctx context.Context, s *streams, value string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, eventWithin)
	defer cancel()
	times := make([]float64, len(s.open))
	patch := fmt.Sprintf(`{"metadata":{"labels":{"bench":%q}}}`, value)
	start := time.Now()
	// The events may come before the answer to the request does.
	var group errgroup.Group
	group.Go(func() error {
		_, err := e.admin.CoreV1().Namespaces().Patch(ctx, noticeBoard, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			cancel()
			return fmt.Errorf("change namespace: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		for i, opened := range s.open {
			at, err := opened.expect(ctx, watch.Modified, noticeBoard)
			if err != nil {
				return err
			}
			times[i] = millis(at.Sub(start))
		}
		return nil
	})
	return times, group.Wait()
}
