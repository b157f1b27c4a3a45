// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
)

// rounds is how many times TestEdits looks what came of its edits.
const rounds = 4

// TestEdits disturbs nothing.
func TestEdits(t *testing.T) {
	w := newWorld(t, "edits")
	w.stir(t)
	w.follow(t)
	for range rounds {
		require.NoError(t, w.edit(t.Context(), *edits/rounds))
		w.settle(t, "after some edits")
		w.mark(t)
	}
	w.verify(t)
	// Edits that nobody notices would let the test pass.
	require.Positive(t, w.marked, "seed %d: everybody may get everything", w.seed)
	least := map[string]int{"informer-all": *edits / 20, "informer-nodes": *edits / 40, "informer-tenants": *edits / 40}
	for _, c := range w.clients {
		for _, of := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
			n, _ := c.record.count(of)
			require.GreaterOrEqual(t, n, least[c.name], "seed %d: %s of %s", w.seed, of, c.name)
		}
	}
}

// TestServerKilled kills tenancy-apiserver while edits go on, which it misses
// some of.
func TestServerKilled(t *testing.T) {
	w := newWorld(t, "killed")
	w.stir(t)
	w.follow(t)
	w.mark(t)
	during := w.editInBackground(t, *edits)
	during.await(t, *edits/4)
	require.NoError(t, system.Server.Kill())
	during.await(t, *edits/2)
	require.NoError(t, system.Server.Start(t.Context()))
	during.await(t, *edits)
	w.settle(t, "after the last edit")
	w.verify(t)
}

// TestRevokedWhileDown kills tenancy-apiserver in a cluster where nothing else
// happens until it is back but that access is revoked, or granted. The revision
// of the namespaces is then still the one that clients resume at.
func TestRevokedWhileDown(t *testing.T) {
	w := newWorld(t, "quiet")
	kept, lost, won := w.objectName(0), w.objectName(1), w.objectName(2)
	ctx, ann, ben := t.Context(), w.ann.name, w.ben.name
	edit := func(edits ...func() error) {
		for _, edit := range edits {
			require.NoError(t, edit())
		}
	}
	bind := func(name, user string) func() error {
		return func() error { return w.toggleRoleBindingTo(ctx, name, user, "view") }
	}
	names := func(names ...string) func() error {
		return func() error { return w.putNamesOf(ctx, "a", names...) }
	}
	bindNames := func() error { return w.toggleClusterRoleBinding(ctx, "names-a", ben) }
	bindEvery := func() error { return w.toggleClusterRoleBinding(ctx, "every", w.ann.groups[0]) }
	edit(bind(kept, ann), bind(kept, ben), bind(lost, ann))
	w.follow(t)

	w.requireHeld(t, namespaces, w.ann, lost, true)
	require.NoError(t, system.Server.Kill())
	edit(bind(lost, ann))
	require.NoError(t, system.Server.Start(ctx))
	w.settle(t, "one RoleBinding deleted while the server was down")
	w.requireHeld(t, namespaces, w.ann, lost, false)

	edit(bindEvery, names(kept, lost), bindNames)
	w.settle(t, "granted every name, and some by a ClusterRole")
	for _, of := range []*resource{nodes, tenants} {
		w.requireHeld(t, of, w.ann, won, true)
		w.requireHeld(t, of, w.ben, lost, true)
		w.requireHeld(t, of, w.ben, won, false)
	}
	w.requireHeld(t, namespaces, w.ann, won, true)
	w.requireHeld(t, namespaces, w.ben, lost, true)
	require.NoError(t, system.Server.Kill())
	edit(bindEvery, names(kept), bind(won, ben))
	require.NoError(t, system.Server.Start(ctx))
	w.settle(t, "revoked, and another granted, while the server was down")
	for _, of := range []*resource{nodes, tenants} {
		w.requireHeld(t, of, w.ann, won, false)
		w.requireHeld(t, of, w.ben, lost, false)
		w.requireHeld(t, of, w.ben, kept, true)
	}
	w.requireHeld(t, namespaces, w.ann, won, false)
	w.requireHeld(t, namespaces, w.ben, lost, false)
	w.requireHeld(t, namespaces, w.ben, won, true)
	w.requireHeld(t, namespaces, w.ann, kept, true)
	w.verify(t)
}

// TestAPIServerRestarted restarts kube-apiserver while edits go on: all watches
// end, those of tenancy-apiserver and those of its clients, and the API server's
// caches begin anew. An API server that does not know yet of the definition of
// Tenants must not be taken for one without Tenants.
func TestAPIServerRestarted(t *testing.T) {
	w := newWorld(t, "restarted")
	w.stir(t)
	w.follow(t)
	w.mark(t)
	user := identity{name: w.name + "-eve"}
	kept := w.name + "-kept"
	require.NoError(t, w.create(t.Context(), tenants, kept))
	require.NoError(t, w.putRules(t.Context(), "kept", tenants.rule(kept)))
	require.NoError(t, w.toggleClusterRoleBinding(t.Context(), "names-kept", user.name))
	direct := system.DirectConfigOf(t, user.name)
	awaitListed(t, direct, tenants, kept)
	answers := observe(t, direct, tenants)
	during := w.editInBackground(t, *edits)
	during.await(t, *edits/3)
	require.NoError(t, system.ControlPlane.APIServer().Restart(t.Context()))
	during.await(t, *edits)
	w.settle(t, "after the last edit")
	answers.await(t, "200")
	answers.verify(t)
	w.verify(t)
}
