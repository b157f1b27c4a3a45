// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"tenancy.capsule.io/pkg/internal/feed"
)

// newClientset returns a fake clientset that refuses to send a list by a watch,
// which it cannot: the reflector lists instead.
func newClientset(objects ...runtime.Object) *fake.Clientset {
	client := fake.NewClientset(objects...)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		options := action.(clienttesting.WatchActionImpl).ListOptions
		if options.SendInitialEvents != nil && *options.SendInitialEvents {
			return true, nil, apierrors.NewBadRequest("no watch list")
		}
		return false, nil, nil
	})
	return client
}

func TestFeeds(t *testing.T) {
	t.Parallel()
	client := newClientset(
		clusterRole("admin", getRule("namespaces")),
		clusterRoleBinding("all", "ClusterRole/admin", userSubject("root")),
		roleIn("n", getRule("namespaces")),
		roleBinding("n", "b", "Role/r", userSubject("alice")),
		roleBinding("m", "b", "ClusterRole/admin", userSubject("alice")),
	)
	index := NewIndex(questions...)
	feeds := index.Feeds(client, clock.RealClock{})
	changed := make(chan struct{}, 100)
	index.Subscribe(getNamespaces, func(Change) { changed <- struct{}{} })

	var known []string
	for _, f := range feeds {
		known = append(known, f.Name())
		require.Error(t, f.Check(), "%s is not read yet", f.Name())
	}
	assert.Equal(t, []string{"clusterrolebindings", "clusterroles", "rolebindings", "roles"}, slices.Sorted(slices.Values(known)))

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, f := range feeds {
		running.Go(func() { f.Run(ctx) })
	}
	defer running.Wait()
	defer cancel()
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(feeds, func(f *feed.Feed) bool { return f.Check() != nil })
	}, 20*time.Second, time.Millisecond)

	s := index.Snapshot(getNamespaces)
	assert.Equal(t, []string{"m", "n"}, names(s, "alice"))
	assert.True(t, s.Every([]Subject{NewUser("root")}))
	assert.False(t, s.Allowed([]Subject{NewUser("bob")}, "n"))
	for len(changed) > 0 {
		<-changed
	}

	// What happens from now on comes by the watches; the fake one may have begun
	// after the list, so that the first change is made until it is seen.
	rbac := client.RbacV1()
	require.Eventually(t, func() bool {
		if _, err := rbac.RoleBindings("o").Create(ctx, roleBinding("o", "b", "ClusterRole/admin", userSubject("bob")), metav1.CreateOptions{}); err != nil {
			_ = rbac.RoleBindings("o").Delete(ctx, "b", metav1.DeleteOptions{})
			return false
		}
		return assert.ObjectsAreEqual([]string{"o"}, waitForNames(index, changed, "bob", "o"))
	}, 20*time.Second, time.Millisecond)

	update := roleBinding("m", "b", "ClusterRole/admin", userSubject("bob"))
	_, err := rbac.RoleBindings("m").Update(ctx, update, metav1.UpdateOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"m", "o"}, waitForNames(index, changed, "bob", "m", "o"))
	assert.Equal(t, []string{"n"}, names(index.Snapshot(getNamespaces), "alice"))
}

// waitForNames returns what the user may get, after it is what is wanted or
// nothing changes any more.
func waitForNames(index *Index, changed <-chan struct{}, user string, want ...string) []string {
	for {
		if got := names(index.Snapshot(getNamespaces), user); slices.Equal(got, want) {
			return got
		}
		select {
		case <-changed:
		case <-time.After(time.Second):
			return names(index.Snapshot(getNamespaces), user)
		}
	}
}
