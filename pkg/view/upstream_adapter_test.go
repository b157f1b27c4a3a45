// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"io"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"
)

// podName is the field of a pod's own name; below is the value of the fields that
// are called like the directories above its key.
const (
	podName = "podName"
	below   = "below"
)

// keyedPod is a pod that bears its key as its name in the view.
//
//	key            metadata.name   fields
//	/pods/ns/foo   /pods/ns/foo    podName=foo, /pods=below, /pods/ns=below
//	/pods/foo      /pods/foo       podName=foo, /pods=below
//
// The suite unwraps a runtime.CacheableObject, so it reads the view's own channel.
type keyedPod struct {
	example.Pod
	key string
}

var (
	_ Object                  = &keyedPod{}
	_ runtime.CacheableObject = &keyedPod{}
)

func (p *keyedPod) GetName() string           { return p.key }
func (p *keyedPod) SetName(key string)        { p.key = key }
func (p *keyedPod) GetObject() runtime.Object { return p.DeepCopy() }

func (p *keyedPod) CacheEncode(_ runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	return encode(p.GetObject(), w)
}

func keyedPods() Kind[*keyedPod] {
	return Kind[*keyedPod]{
		Resource: "upstream",
		// All that the attribute functions of the suite return.
		Fields: func(p *keyedPod) fields.Fields {
			set := fields.Set{
				"metadata.name":      p.key,
				"metadata.namespace": p.Namespace,
				"spec.nodeName":      p.Spec.NodeName,
				podName:              p.Name,
			}
			for directory := path.Dir(p.key); directory != "/"; directory = path.Dir(directory) {
				set[directory] = below
			}
			return set
		},
		New: func() *keyedPod { return &keyedPod{} },
		ShallowCopy: func(p *keyedPod) *keyedPod {
			root := *p
			return &root
		},
	}
}

// selectionOf makes a key and a predicate selectors, for the view to apply.
func selectionOf(key string, o storage.ListOptions) (Selection, error) {
	scope := fields.OneTermEqualSelector("metadata.name", key)
	if o.Recursive {
		scope = fields.OneTermEqualSelector(path.Clean(key), below)
	}
	predicate, err := o.Predicate.Field.Transform(func(field, value string) (string, string, error) {
		if field == "metadata.name" {
			field = podName
		}
		return field, value, nil
	})
	return Selection{Labels: o.Predicate.Label, Fields: fields.AndSelectors(scope, predicate)}, err
}

// movedClock is the real clock, since the suite waits in real time, moved by what
// a test says.
type movedClock struct {
	clock.RealClock
	by atomic.Int64
}

func (c *movedClock) Now() time.Time        { return c.RealClock.Now().Add(time.Duration(c.by.Load())) }
func (c *movedClock) move(by time.Duration) { c.by.Add(int64(by)) }

// podStorage is a storage whose reads are a view's, by a subject who may get every
// name. What was written is in the view when the write returns.
type podStorage struct {
	// Interface is nil: the suite calls nothing but what is below.
	storage.Interface
	view  *View[*keyedPod, string]
	clock *movedClock
	// lock is held by a write, revision is that of the last one.
	lock     sync.Mutex
	revision uint64
}

// upstreamReader are the subjects of every read.
var upstreamReader = []string{"root"}

// newPodStorage returns an empty storage at revision 1. When the test has ended
// the view must have no watch left.
func newPodStorage(t testing.TB) *podStorage {
	t.Helper()
	s := &podStorage{clock: &movedClock{}, revision: 1}
	// The suite resumes at revisions that writes returned, and at 1. A view takes one
	// that it did not hand out only if it was there, longer than replicas differ in
	// the access they know, before the revision was. So it is older than the writes,
	// and has handed out 1.
	s.clock.move(-2 * ReplicaLag)
	s.view = New[*keyedPod](keyedPods(), Access[string](&grants{upstreamReader[0]: {"*"}}), s.clock)
	s.view.Replace(nil, revision(s.revision))
	_, err := s.view.List(t.Context(), upstreamReader, ListOptions{})
	require.NoError(t, err)
	s.clock.move(2 * ReplicaLag)
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return s.view.Watches() == 0 }, 10*time.Second, time.Millisecond)
	})
	return s
}

// forget has the view forget all that happened so far: nothing does but that time
// passes and the revision grows.
func (s *podStorage) forget(context.Context, *testing.T, string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for range 2 {
		s.clock.move(2 * (resumeAge + ReplicaLag))
		s.revision++
		s.view.Bookmark(revision(s.revision))
	}
}

func (s *podStorage) Watch(ctx context.Context, key string, o storage.ListOptions) (watch.Interface, error) {
	selection, err := selectionOf(key, o)
	if err != nil {
		return nil, err
	}
	w, err := s.view.Watch(ctx, upstreamReader, WatchOptions{
		ResourceVersion:   o.ResourceVersion,
		Selection:         selection,
		SendInitialEvents: o.SendInitialEvents,
		AllowBookmarks:    o.Predicate.AllowWatchBookmarks,
	})
	if err != nil {
		return nil, err
	}
	events := make(chan watch.Event)
	pods := watch.NewProxyWatcher(events)
	go unshareEvents(w, events, pods.StopChan())
	return pods, nil
}

// unshareEvents hands on the events of a watch, each with a pod of its own: the
// suite unwraps an object once, and a pod that watches share is wrapped twice.
func unshareEvents(w watch.Interface, events chan<- watch.Event, stopped <-chan struct{}) {
	defer close(events)
	defer w.Stop()
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return
			}
			select {
			case events <- unshared(event):
			case <-stopped:
				return
			}
		case <-stopped:
			return
		}
	}
}

func (s *podStorage) GetList(ctx context.Context, key string, o storage.ListOptions, out runtime.Object) error {
	selection, err := selectionOf(key, o)
	if err != nil {
		return err
	}
	list, err := s.view.List(ctx, upstreamReader, ListOptions{
		ResourceVersion:      o.ResourceVersion,
		ResourceVersionMatch: o.ResourceVersionMatch,
		Selection:            selection,
		Limit:                o.Predicate.Limit,
		Continue:             o.Predicate.Continue,
	})
	if err != nil {
		return err
	}
	pods := out.(*example.PodList)
	pods.ResourceVersion, pods.Continue = revision(list.ResourceVersion), list.Continue
	pods.Items = make([]example.Pod, len(list.Items))
	for i, pod := range list.Items {
		pod.DeepCopyInto(&pods.Items[i])
	}
	return nil
}

func (s *podStorage) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	list, err := s.view.List(ctx, upstreamReader, ListOptions{Limit: 1})
	return list.ResourceVersion, err
}

func (s *podStorage) Get(ctx context.Context, key string, o storage.GetOptions, out runtime.Object) error {
	pod, found, err := s.view.Get(ctx, upstreamReader, key, o.ResourceVersion)
	switch {
	case err != nil:
		return err
	case found:
		pod.DeepCopyInto(out.(*example.Pod))
	case !o.IgnoreNotFound:
		return storage.NewKeyNotFoundError(key, 0)
	}
	return nil
}

func (s *podStorage) Create(ctx context.Context, key string, pod, out runtime.Object, _ uint64) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if err := s.Get(ctx, key, storage.GetOptions{}, &example.Pod{}); !storage.IsNotFound(err) {
		return storage.NewKeyExistsError(key, 0)
	}
	s.writeLocked(s.view.Upsert, key, pod, out)
	return nil
}

// GuaranteedUpdate takes no preconditions, like Delete: the suite has none.
func (s *podStorage) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	_ *storage.Preconditions, update storage.UpdateFunc, _ runtime.Object,
) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	pod := &example.Pod{}
	if err := s.Get(ctx, key, storage.GetOptions{IgnoreNotFound: ignoreNotFound}, pod); err != nil {
		return err
	}
	updated, _, err := update(pod, storage.ResponseMeta{})
	if err != nil {
		return err
	}
	s.writeLocked(s.view.Upsert, key, updated, out)
	return nil
}

func (s *podStorage) Delete(ctx context.Context, key string, out runtime.Object,
	_ *storage.Preconditions, _ storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions,
) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	pod := &example.Pod{}
	if err := s.Get(ctx, key, storage.GetOptions{}, pod); err != nil {
		return err
	}
	s.writeLocked(s.view.Delete, key, pod, out)
	return nil
}

// writeLocked gives the pod the next revision, feeds it to the view, and returns it in out.
func (s *podStorage) writeLocked(feed func(*keyedPod), key string, pod, out runtime.Object) {
	s.revision++
	written := &keyedPod{Pod: *pod.(*example.Pod).DeepCopy(), key: key}
	written.ResourceVersion = revision(s.revision)
	feed(written)
	written.DeepCopyInto(out.(*example.Pod))
}
