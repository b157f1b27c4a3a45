// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// id names an object of whatever kind.
type id struct {
	kind *kind
	key  client.ObjectKey
}

func (i id) String() string { return i.kind.resource + " " + i.key.String() }

// event is one change.
type event struct {
	id
	// revision is that of etcd, which is one for all kinds.
	revision uint64
	// object is what there is from then on; nil if it was deleted.
	object client.Object
	// received is when the recorder knew: not before any other client could.
	received time.Time
}

// recorder follows all kinds.
type recorder struct {
	client client.WithWatch

	lock sync.Mutex
	// lock protects what follows: all events, in the order of each kind, and what
	// there is after them.
	events []event
	latest state
	// written counts the events of what the controller writes, by whomever.
	written int
}

// state is what there is at some time.
type state map[id]client.Object

func (s state) apply(e event) {
	if e.object == nil {
		delete(s, e.id)
	} else {
		s[e.id] = e.object
	}
}

// newRecorder records until the test is over. It fails the test if it may have
// missed something.
func newRecorder(t *testing.T, c client.WithWatch) *recorder {
	t.Helper()
	r := &recorder{client: c, latest: state{}}
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	for _, k := range recorded {
		list := k.list()
		require.NoError(t, c.List(ctx, list))
		require.NoError(t, meta.EachListItem(list, func(item runtime.Object) error {
			return r.take(k, item, false)
		}))
		watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				return c.Watch(ctx, k.list(), &client.ListOptions{Raw: &options})
			},
		})
		require.NoError(t, err)
		group.Go(func() error { return r.follow(ctx, k, watcher) })
	}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, group.Wait())
		keep(t, r.history())
	})
	return r
}

func (r *recorder) follow(ctx context.Context, k *kind, watcher watch.Interface) error {
	defer watcher.Stop()
	for e := range watcher.ResultChan() {
		switch e.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			if err := r.take(k, e.Object, e.Type == watch.Deleted); err != nil {
				return err
			}
		case watch.Bookmark:
		case watch.Error:
			return fmt.Errorf("watch %s: %w", k, apierrors.FromObject(e.Object))
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("watch %s: it has ended", k)
	}
	return nil
}

func (r *recorder) take(k *kind, item runtime.Object, deleted bool) error {
	object, ok := item.(client.Object)
	if !ok {
		return fmt.Errorf("%s: unexpected %T", k, item)
	}
	revision, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", k, err)
	}
	e := event{id: id{k, client.ObjectKeyFromObject(object)}, revision: revision, object: object, received: time.Now()}
	if deleted {
		e.object = nil
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.events = append(r.events, e)
	if isWritten(k, r.latest[e.id], e.object) {
		r.written++
	}
	r.latest.apply(e)
	return nil
}

// now returns a copy of what there is, and how many events told so.
func (r *recorder) now() (state, int) {
	r.lock.Lock()
	defer r.lock.Unlock()
	return maps.Clone(r.latest), len(r.events)
}

// isWritten reports whether an event is of what the controller writes. The state of
// quotas is not.
func isWritten(k *kind, was, is client.Object) bool {
	if k == resourceQuotas && was != nil && is != nil {
		return !equality.Semantic.DeepEqual(bare(was), bare(is))
	}
	return slices.Contains(rbac, k) || slices.Contains(imposed, k)
}

// writes returns how often that was written.
func (r *recorder) writes() int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.written
}

// history returns all events in their order.
func (r *recorder) history() []event {
	r.lock.Lock()
	defer r.lock.Unlock()
	events := slices.Clone(r.events)
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
	return events
}

// verify compares what was recorded with what the API server has: nothing is missing
// in the end, so nothing was missed on the way, as watches go.
func (r *recorder) verify(ctx context.Context) error {
	present := state{}
	for _, k := range recorded {
		list := k.list()
		if err := r.client.List(ctx, list); err != nil {
			return err
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			present[id{k, client.ObjectKeyFromObject(object)}] = object
			return nil
		}); err != nil {
			return err
		}
	}
	latest, _ := r.now()
	var errs []error
	for i, object := range present {
		if known := latest[i]; known == nil || known.GetResourceVersion() != object.GetResourceVersion() {
			errs = append(errs, fmt.Errorf("%s was not recorded as it is", i))
		}
	}
	for i := range latest {
		if present[i] == nil {
			errs = append(errs, fmt.Errorf("%s is gone, which was not recorded", i))
		}
	}
	return errors.Join(errs...)
}
