// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	tenancy "tenancy.capsule.io/generated/clientset/versioned"
)

// noticedWithin is how long the server may take to notice that a resource has come:
// a reflector that failed waits before it asks again.
const noticedWithin = 90 * time.Second

// TestTenantsComeAndGo defines Tenants, and removes the definition, while the
// server runs. It is the first test: the cluster has never heard of Tenants then.
func TestTenantsComeAndGo(t *testing.T) {
	withoutTenants(t)
	w := newEmptyWorld(t, "come")
	ctx, oil, gas := t.Context(), w.objectName(0), w.objectName(1)
	require.NoError(t, w.putRules(ctx, "a", tenants.rule(oil)))
	require.NoError(t, w.toggleClusterRoleBinding(ctx, "names-a", w.ann.name))
	config := system.DirectConfigOf(t, w.ann.name, w.ann.groups...)
	var last uint64
	// empty holds that the view is one of nothing, at a revision that does not fall.
	empty := func(when string) uint64 {
		t.Helper()
		names, revision := listTenants(t, config)
		require.Empty(t, names, when)
		require.Positive(t, revision, when)
		require.GreaterOrEqual(t, revision, last, when)
		w.requireReady(t, when)
		last = revision
		return revision
	}

	stream := w.watchTenants(t, config, empty("never defined"))
	w.start(t, tenants, informer, system.DirectConfigOf(t, w.ann.name, w.ann.groups...), w.ann, "informer", selection{})
	w.start(t, tenants, listInformer, system.Config(t, w.ann.name, w.ann.groups...), w.ann, "list-informer", selection{})
	w.awaitHeld(t, "never defined")

	require.NoError(t, system.InstallTenants(ctx))
	require.NoError(t, w.create(ctx, tenants, oil))
	w.awaitHeld(t, "defined", oil)
	stream.await(t, watch.Added, oil)
	require.NoError(t, w.putLabel(ctx, tenants, oil))
	stream.await(t, watch.Modified, oil)
	require.NoError(t, w.create(ctx, tenants, gas))
	require.NoError(t, w.putRules(ctx, "a", tenants.rule(oil, gas)))
	stream.await(t, watch.Added, gas)
	w.awaitHeld(t, "granted", oil, gas)
	require.NoError(t, w.putRules(ctx, "a", tenants.rule(oil)))
	stream.await(t, watch.Deleted, gas)
	w.awaitHeld(t, "revoked", oil)
	for _, c := range w.clients {
		require.NotRegexp(t, `(?m)^# \S+ [45]\d\d`, string(c.record.content(t)), "%s was refused something", c.name)
	}

	require.NoError(t, system.Server.Restart(ctx))
	awaitListed(t, config, tenants, oil)
	w.awaitHeld(t, "the server restarted while there are Tenants", oil)
	_, last = listTenants(t, config)
	full := last
	stream = w.watchTenants(t, config, full)
	require.NoError(t, system.RemoveTenants(ctx))
	stream.await(t, watch.Deleted, oil)
	w.awaitHeld(t, "removed")
	require.Greater(t, empty("removed"), full)

	require.NoError(t, system.Server.Restart(ctx))
	stream = w.watchTenants(t, config, empty("the server restarted without Tenants"))
	require.NoError(t, system.InstallTenants(ctx))
	require.NoError(t, w.create(ctx, tenants, oil))
	stream.await(t, watch.Added, oil)
	w.awaitHeld(t, "defined once more", oil)
	require.NoError(t, system.RemoveTenants(ctx))
	stream.await(t, watch.Deleted, oil)
	w.awaitHeld(t, "removed once more")
	empty("removed once more")
	w.verify(t)
}

// TestTenantsThatCannotBeRead defines Tenants of which the API server cannot tell
// the version that the view reads: it asks a webhook that is not there. That takes
// nothing away but Tenants.
func TestTenantsThatCannotBeRead(t *testing.T) {
	withoutTenants(t)
	w := newEmptyWorld(t, "broken")
	ctx, oil := t.Context(), w.objectName(0)
	require.NoError(t, w.putRules(ctx, "a", tenants.rule(oil), namespaces.rule("default")))
	require.NoError(t, w.toggleClusterRoleBinding(ctx, "names-a", w.ann.name))
	config := system.DirectConfigOf(t, w.ann.name, w.ann.groups...)
	awaitListed(t, config, namespaces, "default")
	remove := w.defineTenants(t, oil, true, map[string]any{"strategy": "Webhook", "webhook": map[string]any{
		"conversionReviewVersions": []any{"v1"},
		"clientConfig":             map[string]any{"service": map[string]any{"namespace": "default", "name": "absent"}},
	}})
	require.Eventually(t, func() bool {
		_, err := w.stored.Resource(tenants.native).List(t.Context(), metav1.ListOptions{})
		return err != nil && strings.Contains(err.Error(), "conversion webhook")
	}, settleWithin, settlePeriod)

	require.NoError(t, system.Server.Restart(ctx))
	w.requireReady(t, "Tenants cannot be read")
	for _, host := range []string{system.URL, system.AdminConfig(t).Host} {
		config := rest.CopyConfig(config)
		config.Host = host
		got := ask(t, config, tenants.viewPath())
		require.Equal(t, http.StatusServiceUnavailable, got.code, "%s", got.body)
		require.NotEmpty(t, got.header.Get("Retry-After"))
		require.Contains(t, string(got.body), unready)
		names, _ := listNames(t, config, namespaces)
		require.Contains(t, names, "default")
	}
	remove()
	require.Eventually(t, func() bool {
		got := ask(t, config, tenants.viewPath())
		return got.code == http.StatusOK
	}, settleWithin, settlePeriod)
	names, revision := listTenants(t, config)
	require.Empty(t, names)
	require.Positive(t, revision)
}

// TestTenantsOfAnotherVersion defines Tenants while the server runs, and does not
// serve the version that the view reads. That it is not found does not mean that
// there are none.
func TestTenantsOfAnotherVersion(t *testing.T) {
	withoutTenants(t)
	w := newEmptyWorld(t, "version")
	ctx, oil := t.Context(), w.objectName(0)
	require.NoError(t, w.putRules(ctx, "a", tenants.rule(oil)))
	require.NoError(t, w.toggleClusterRoleBinding(ctx, "names-a", w.ann.name))
	config := system.DirectConfigOf(t, w.ann.name, w.ann.groups...)
	// A server that has read Tenants before may answer from what it knows for a while.
	require.NoError(t, system.Server.Restart(ctx))
	names, _ := listTenants(t, config)
	require.Empty(t, names)
	remove := w.defineTenants(t, oil, false, map[string]any{"strategy": "None"})
	require.Eventually(t, func() bool { return ask(t, config, tenants.viewPath()).code == http.StatusServiceUnavailable }, noticedWithin, settlePeriod)
	w.requireReady(t, "Tenants are not served in the version that is read")

	serve := []byte(`[{"op": "replace", "path": "/spec/versions/0/served", "value": true}]`)
	_, err := w.stored.Resource(definitions).Patch(ctx, tenants.native.GroupResource().String(), types.JSONPatchType, serve, metav1.PatchOptions{})
	require.NoError(t, err)
	awaitListed(t, config, tenants, oil)
	remove()
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func tenantsDefined(t *testing.T) bool {
	t.Helper()
	got := ask(t, system.AdminConfig(t), "/apis/"+tenants.native.Group+"/"+tenants.native.Version+"/"+tenants.native.Resource)
	require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, got.code, "%s", got.body)
	return got.code == http.StatusOK
}

func withoutTenants(t *testing.T) {
	t.Helper()
	if tenantsDefined(t) {
		require.NoError(t, system.RemoveTenants(t.Context()))
	}
}

func ensureTenants(t *testing.T) {
	t.Helper()
	if !tenantsDefined(t) {
		require.NoError(t, system.InstallTenants(t.Context()))
	}
}

// requireReady holds that the server is ready, and serves the namespaces, whatever
// there is of Tenants.
func (w *world) requireReady(t *testing.T, when string) {
	t.Helper()
	got := ask(t, system.DirectConfig(t), "/readyz?verbose")
	require.Equal(t, http.StatusOK, got.code, "%s: %s", when, got.body)
	require.Contains(t, string(got.body), "feed-namespaces", when)
	require.NotContains(t, string(got.body), "tenants", when)
	// The API server may have to notice that a server that was restarted is back.
	require.Eventually(t, func() bool {
		got = ask(t, system.AdminConfig(t), namespaces.viewPath())
		return got.code == http.StatusOK
	}, settleWithin, settlePeriod, "%s: %s", when, got.body)
}

// awaitHeld waits until every client of the world holds Tenants of exactly the
// names.
func (w *world) awaitHeld(t *testing.T, when string, names ...string) {
	t.Helper()
	for _, c := range w.clients {
		require.Eventually(t, func() bool {
			held := c.held()
			return len(held) == len(names) && !slices.ContainsFunc(names, func(name string) bool { return held[name] == nil })
		}, settleWithin, settlePeriod, "%s: %s, see %s", when, c.name, c.record.path)
	}
}

// tenantWatch is a watch of a user's Tenants.
type tenantWatch struct {
	clients tenancy.Interface
	current watch.Interface
}

func (w *world) watchTenants(t *testing.T, config *rest.Config, revision uint64) *tenantWatch {
	t.Helper()
	clients, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	s := &tenantWatch{clients: clients}
	s.open(t, strconv.FormatUint(revision, 10))
	t.Cleanup(func() { s.current.Stop() })
	return s
}

func (s *tenantWatch) open(t *testing.T, revision string) {
	t.Helper()
	var err error
	s.current, err = s.clients.TenancyV1alpha1().MyTenants().Watch(t.Context(), metav1.ListOptions{ResourceVersion: revision, AllowWatchBookmarks: true})
	require.NoError(t, err)
}

// await waits for an event. The Tenant may have changed before. A watch that waits
// for one that was not there may be told to list, but of no other error.
func (s *tenantWatch) await(t *testing.T, of watch.EventType, name string) {
	t.Helper()
	deadline := time.After(noticedWithin)
	for {
		select {
		case event, ok := <-s.current.ResultChan():
			require.True(t, ok, "the watch has ended, %s was to come", of)
			if event.Type == watch.Error {
				require.Equal(t, watch.Added, of, "%v", event.Object)
				require.True(t, apierrors.IsResourceExpired(apierrors.FromObject(event.Object)), "%v", event.Object)
				s.open(t, "")
				continue
			}
			o := event.Object.(metav1.Object)
			if event.Type == of && o.GetName() == name {
				return
			}
			require.Contains(t, []watch.EventType{watch.Bookmark, watch.Modified}, event.Type, "%s of %s", event.Type, o.GetName())
		case <-deadline:
			require.Fail(t, "an event is missing", "%s of %s", of, name)
		}
	}
}

// defineTenants defines Tenants in two versions, of which the one that the view
// reads is served or not, and stores one in the other version.
func (w *world) defineTenants(t *testing.T, name string, served bool, conversion map[string]any) (remove func()) {
	t.Helper()
	version := func(name string, served, storage bool) map[string]any {
		return map[string]any{"name": name, "served": served, "storage": storage, "schema": map[string]any{
			"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		}}
	}
	_, err := w.stored.Resource(definitions).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": tenants.native.GroupResource().String()},
		"spec": map[string]any{
			"group": tenants.native.Group, "scope": "Cluster",
			"names":      map[string]any{"kind": "Tenant", "plural": "tenants"},
			"versions":   []any{version(tenants.native.Version, served, false), version("v1", true, true)},
			"conversion": conversion,
		},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	remove = func() {
		if err := system.RemoveTenants(context.WithoutCancel(t.Context())); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			remove()
		}
	})
	native := tenants.native
	native.Version = "v1"
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": native.GroupVersion().String(), "kind": "Tenant", "metadata": map[string]any{"name": name}}}
	require.Eventually(t, func() bool {
		_, err := w.stored.Resource(native).Create(t.Context(), o, metav1.CreateOptions{})
		return err == nil
	}, settleWithin, settlePeriod)
	return remove
}

// awaitListed waits until a view lists a name.
func awaitListed(t *testing.T, config *rest.Config, of *resource, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		got := ask(t, config, of.viewPath())
		return got.code == http.StatusOK && strings.Contains(string(got.body), fmt.Sprintf("%q", name))
	}, noticedWithin, settlePeriod, "%s %s was not listed", of, name)
}

func listTenants(t *testing.T, config *rest.Config) (names []string, revision uint64) {
	t.Helper()
	return listNames(t, config, tenants)
}

// listNames returns the names that a view lists, and the revision of the list.
func listNames(t *testing.T, config *rest.Config, of *resource) (names []string, revision uint64) {
	t.Helper()
	var got answer
	require.Eventually(t, func() bool { // a server is ready before it has asked for Tenants
		got = ask(t, config, of.viewPath())
		return got.code == http.StatusOK
	}, noticedWithin, settlePeriod)
	var list metav1.PartialObjectMetadataList
	require.NoError(t, json.Unmarshal(got.body, &list))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	revision, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	require.NoError(t, err)
	return names, revision
}
