// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// encodeNames is an encoder that counts what it encodes.
func encodeNames(calls *atomic.Int32) func(runtime.Object, io.Writer) error {
	return func(o runtime.Object, w io.Writer) error {
		calls.Add(1)
		_, err := io.WriteString(w, o.(*object).Name)
		return err
	}
}

// TestSharedObject holds an object to being encoded once for an identifier, by
// whoever comes first, and never to be handed out itself.
func TestSharedObject(t *testing.T) {
	t.Parallel()
	var s sharing[*object]
	o := newObject("a", "1", 5)
	assert.IsType(t, o, s.objectFor(o, kindOf().ShallowCopy), "told to nobody else")
	assert.IsType(t, o, (*sharing[*object])(nil).objectFor(o, kindOf().ShallowCopy), "not to be shared")
	s.watches.Store(2)

	var calls atomic.Int32
	var running sync.WaitGroup
	shared := s.objectFor(o, kindOf().ShallowCopy)
	for i := range 20 {
		running.Go(func() {
			own := s.objectFor(o, kindOf().ShallowCopy).(runtime.CacheableObject)
			assert.Same(t, shared, own)
			for _, id := range []runtime.Identifier{"json", "protobuf"} {
				var got bytes.Buffer
				assert.NoError(t, own.CacheEncode(id, encodeNames(&calls), &got))
				assert.Equal(t, "a", got.String())
				splice := runtime.NewSpliceBuffer()
				assert.NoError(t, own.CacheEncode(id, encodeNames(&calls), splice))
				assert.Equal(t, "a", string(splice.Bytes()))
			}
			root := own.GetObject().(*object)
			root.Name = strconv.Itoa(i)
		})
	}
	running.Wait()
	assert.Equal(t, int32(2), calls.Load(), "once for each identifier")
	assert.Equal(t, "a", o.Name)
	assert.Equal(t, o, shared.DeepCopyObject())
	assert.NotSame(t, o, shared.DeepCopyObject())
	assert.Equal(t, o.GetObjectKind(), shared.GetObjectKind())

	failure := errors.New("no such kind")
	for range 2 {
		err := shared.(runtime.CacheableObject).CacheEncode("yaml", func(runtime.Object, io.Writer) error { return failure }, io.Discard)
		assert.ErrorIs(t, err, failure)
	}
}

// TestWatchesShareObjects holds the watches that are told of one change to sharing
// its object, and those that are told of something else to not doing so.
func TestWatchesShareObjects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := bubbleView(grants{"root": {"*"}, "alice": {"a"}, "bob": {"a"}}, newObject("a", "1", 5))
		clients := map[string]*bubbleClient{}
		for _, name := range []string{"alice", "bob"} {
			clients[name] = bubbleWatch(t, v, name, WatchOptions{SendInitialEvents: new(true)})
		}
		take := func(name string) watch.Event {
			t.Helper()
			synctest.Wait()
			select {
			case event := <-clients[name].ResultChan():
				return event
			default:
				require.FailNow(t, "no event")
				return watch.Event{}
			}
		}
		for name := range clients {
			assert.IsType(t, &object{}, take(name).Object, "initial events are one client's")
		}
		v.Upsert(newObject("a", "1", 12))
		first, second := take("alice"), take("bob")
		assert.Same(t, first.Object, second.Object)
		assert.Equal(t, "MODIFIED a uid=1 rv=12", bubbleText(first))

		clients["bob"].Stop()
		synctest.Wait()
		v.Upsert(newObject("a", "1", 13))
		assert.IsType(t, &object{}, take("alice").Object, "nobody to share with")
	})
}
