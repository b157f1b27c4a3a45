// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"testing"

	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// upstreamTest is a test of k8s.io/apiserver/pkg/storage/testing.
type upstreamTest = func(context.Context, *testing.T, storage.Interface)

// TestUpstreamWatch and TestUpstreamWatchList hold the view to what the API server
// holds its own watch cache to. Of the tests for watches they leave out:
//
//	RunTestDelayedWatchDelivery           What waits in a buffer shall come after Stop. Here nothing waits in
//	                                      one: it could not be called back when access is revoked.
//	RunTestWatchError                     Breaks the decryption of what is stored. A view decodes nothing.
//	RunWatchErrorIsBlockingFurtherEvents  The same.
//	RunTestWatchWithUnsafeDelete          The same, to delete what cannot be decoded.
//	RunOptionalTestProgressNotify         Asks for the progress of etcd, as a watch cache does of its storage
//	                                      and no client can. Bookmarks and BookmarkRevisions test what clients get.
func TestUpstreamWatch(t *testing.T) {
	t.Parallel()
	tests := map[string]upstreamTest{
		"Watch":                    storagetesting.RunTestWatch,
		"DeleteTriggerWatch":       storagetesting.RunTestDeleteTriggerWatch,
		"FromNonZero":              storagetesting.RunTestWatchFromNonZero,
		"ContextCancel":            storagetesting.RunTestWatchContextCancel,
		"Timeout":                  storagetesting.RunTestWatcherTimeout,
		"DeletedHasLatestRevision": storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV,
		"InitializationSignal":     storagetesting.RunTestWatchInitializationSignal,
		"ClusterScoped":            storagetesting.RunTestClusterScopedWatch,
		"NamespaceScoped":          storagetesting.RunTestNamespaceScopedWatch,
		"BookmarkRevisions":        storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion,
		"SendInitialEvents":        storagetesting.RunSendInitialEventsBackwardCompatibility,
		"Bookmarks": func(ctx context.Context, t *testing.T, s storage.Interface) {
			t.Helper()
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, s, true)
		},
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t.Context(), t, newPodStorage(t))
		})
	}
	t.Run("FromZero", func(t *testing.T) {
		t.Parallel()
		s := newPodStorage(t)
		storagetesting.RunTestWatchFromZero(t.Context(), t, s, s.forget)
	})
}

// TestUpstreamWatchList runs what sets a feature gate, which the view does not ask:
// one after another, and, since it gives events 150 ms to come, beside no other test.
func TestUpstreamWatchList(t *testing.T) {
	tests := map[string]upstreamTest{
		"Semantics":        storagetesting.RunWatchSemantics,
		"InitialEventsEnd": storagetesting.RunWatchSemanticInitialEventsExtended,
		"SingleObject":     storagetesting.RunWatchListMatchSingle,
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			run(t.Context(), t, newPodStorage(t))
		})
	}
}
