// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	tenancy "tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/generated/informers/externalversions"
)

// line is the connections of one client, which can be broken: what is open then
// fails, and what is asked fails until the line is mended.
type line struct {
	next http.RoundTripper

	lock sync.Mutex
	// lock protects what follows.
	broken bool
	open   map[*lineBody]bool
}

// lineBody is the body of an answer that a line carries.
type lineBody struct {
	io.ReadCloser
	line *line
}

func newLine(config *rest.Config) *line {
	l := &line{open: map[*lineBody]bool{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		l.next = next
		return l
	})
	return l
}

// RoundTrip implements http.RoundTripper.
func (l *line) RoundTrip(request *http.Request) (*http.Response, error) {
	l.lock.Lock()
	broken := l.broken
	l.lock.Unlock()
	if broken {
		return nil, errors.New("the line is broken")
	}
	response, err := l.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body := &lineBody{ReadCloser: response.Body, line: l}
	response.Body = body
	l.lock.Lock()
	defer l.lock.Unlock()
	l.open[body] = true
	return response, nil
}

// Close implements io.Closer.
func (b *lineBody) Close() error {
	b.line.lock.Lock()
	delete(b.line.open, b)
	b.line.lock.Unlock()
	return b.ReadCloser.Close()
}

func (l *line) cut() {
	l.lock.Lock()
	l.broken = true
	open := maps.Clone(l.open)
	l.lock.Unlock()
	for body := range open {
		_ = body.Close()
	}
}

func (l *line) mend() {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.broken = false
}

// follower is an informer of a view and what it told of each name.
type follower struct {
	name  string
	store cache.Store

	lock sync.Mutex
	told map[string][]string // by name; lock protects it
}

// follow runs an informer until the test is over.
func follow(t *testing.T, name string, informer cache.SharedIndexInformer) *follower {
	t.Helper()
	f := &follower{name: name, store: informer.GetStore(), told: map[string][]string{}}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { f.note(object, "ADDED") },
		UpdateFunc: func(_, object any) { f.note(object, "MODIFIED") },
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			f.note(object, "DELETED")
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	require.Eventually(t, informer.HasSynced, streaming, tick, "%s has not synced", name)
	return f
}

func (f *follower) note(object any, what string) {
	f.lock.Lock()
	defer f.lock.Unlock()
	name := object.(metav1.Object).GetName()
	// An object changes as often as its controllers like.
	if told := f.told[name]; what != "MODIFIED" || len(told) == 0 || told[len(told)-1] != what {
		f.told[name] = append(told, what)
	}
}

// history returns what was told of a name.
func (f *follower) history(name string) string {
	f.lock.Lock()
	defer f.lock.Unlock()
	return strings.Join(f.told[name], " ")
}

// holds returns the labels of an object that the informer holds.
func (f *follower) holds(name string) (map[string]string, bool) {
	object, found, err := f.store.GetByKey(name)
	if err != nil || !found {
		return nil, false
	}
	return object.(metav1.Object).GetLabels(), true
}

// followBoth runs, on the same line, the generated informer and one that reads
// metadata only.
func followBoth(t *testing.T, k kind, user string) (*line, []*follower) {
	t.Helper()
	config := system.Config(t, user)
	l := newLine(config)
	typed, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	generated, err := externalversions.NewSharedInformerFactory(typed, 0).ForResource(k.view)
	require.NoError(t, err)
	partial, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	return l, []*follower{
		follow(t, "generated informer", generated.Informer()),
		follow(t, "metadata informer", metadatainformer.NewSharedInformerFactory(partial, 0).ForResource(k.view).Informer()),
	}
}

// TestInformersFollow has the informers of a user follow what is granted, revoked,
// changed and deleted, of every kind, and in the end hold what reviews allow.
func TestInformersFollow(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		t.Parallel()
		id := "informed-" + k.String()
		names := []string{id + "-0", id + "-1", id + "-2"}
		for _, name := range names {
			k.await(t, k.create(t, k.object(name, nil)))
		}
		line, informers := followBoth(t, k, id)
		await := func(what string, labels ...map[string]string) {
			t.Helper()
			for _, f := range informers {
				assert.Eventually(t, func() bool {
					for i, name := range names {
						held, holds := f.holds(name)
						if want := labels[i]; holds != (want != nil) || held["round"] != want["round"] {
							return false
						}
					}
					return true
				}, streaming, tick, "%s: %s", f.name, what)
			}
			if t.Failed() {
				t.FailNow()
			}
			awaitReviews(t, k, id, what, informers)
		}
		change := func(name, round string) map[string]string {
			t.Helper()
			_, err := k.client(t).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"round":"`+round+`"}}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			return map[string]string{"round": round}
		}
		fresh := map[string]string{}
		await("before anything was granted", nil, nil, nil)

		bindRole(t, id)
		k.putRole(t, id, names[0], names[1])
		await("granted", fresh, fresh, nil)
		change(names[2], "1")
		first := change(names[0], "1")
		await("changed", first, fresh, nil)
		k.putRole(t, id, names[1], names[2])
		await("revoked and granted", nil, fresh, first)

		line.cut()
		second := change(names[1], "2")
		k.putRole(t, id, names[0], names[1])
		line.mend()
		await("after a broken connection", first, second, nil)

		k.putRole(t, id)
		await("granted every name", first, second, first)
		k.putRole(t, id, names[1])
		await("every name revoked", nil, second, nil)

		require.NoError(t, k.client(t).Delete(t.Context(), names[1], metav1.DeleteOptions{}))
		await("deleted", nil, nil, nil)
		k.awaitDeleted(t, names[1])
		k.create(t, k.object(names[1], nil))
		await("recreated", nil, fresh, nil)
		unbindRole(t, id)
		await("the binding deleted", nil, nil, nil)
		for _, f := range informers {
			require.Regexp(t, `^ADDED MODIFIED DELETED ADDED( MODIFIED)? DELETED$`, f.history(names[0]), f.name)
			require.Regexp(t, `^ADDED MODIFIED DELETED ADDED( MODIFIED)? DELETED$`, f.history(names[1]), f.name)
			require.Regexp(t, `^ADDED( MODIFIED)? DELETED ADDED( MODIFIED)? DELETED$`, f.history(names[2]), f.name)
		}
	})
}

// awaitReviews waits until informers hold what reviews allow their user to get.
func awaitReviews(t *testing.T, k kind, user, what string, informers []*follower) {
	t.Helper()
	admin := system.Admin(t)
	stored, err := metadata.NewForConfig(system.AdminConfig(t))
	require.NoError(t, err)
	id := identity{user: user, all: []string{"system:authenticated"}}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		names, err := listNames(t.Context(), stored.Resource(k.native))
		require.NoError(c, err)
		allowed := []string{}
		for _, name := range names {
			may, err := k.mayGet(t.Context(), admin, id, name)
			require.NoError(c, err)
			if may {
				allowed = append(allowed, name)
			}
		}
		for _, f := range informers {
			require.ElementsMatch(c, allowed, f.store.ListKeys(), "%s: %s", f.name, what)
		}
	}, streaming, tick)
}
