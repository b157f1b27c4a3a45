// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// selection is what a client selects by.
type selection struct{ labels, fields string }

func (s selection) String() string { return s.labels + ";" + s.fields }

// selections returns label selectors of every operator, and field selectors of
// every field that some kind has. They are all of what has the label test=id;
// names are those of objects.
func (k kind) selections(id string, names ...string) []selection {
	var all []selection
	for _, s := range []string{
		"color=red", "color==red", "color!=red", "color in (red,blue)", "color notin (red,blue)", "color", "!color",
		"color=", "color!=", "color in (,red)", "color notin (,red)", "rank>1", "rank<2",
		"color=red,size=big", "color,!size", "color=red,color=blue", "color in (red,blue),color!=red,size",
	} {
		all = append(all, selection{labels: s})
	}
	a, b := names[0], names[1]
	terms := []string{
		"metadata.name=" + a, "metadata.name==" + a, "metadata.name!=" + a, "metadata.name=", "metadata.name!=", "metadata.name=absent",
		"metadata.name=" + a + ",metadata.name=" + b, "metadata.name!=" + a + ",metadata.name!=" + b, "metadata.name=" + a + ",metadata.name!=" + b,
	}
	// Some kinds know these, to the others they are unknown.
	terms = append(terms, "metadata.namespace=", "metadata.namespace!=", "metadata.namespace=a", "metadata.namespace!=a",
		"status.phase=Active", "status.phase!=Active", "status.phase=Terminating", "status.phase=",
		"spec.unschedulable=true", "spec.unschedulable!=true", "spec.unschedulable==false", "spec.unschedulable=", "spec.unschedulable=True",
		"name="+a, "spec.bogus=1")
	for _, field := range k.fields {
		terms = append(terms, "metadata.name!="+b+","+field+"!=true", field+"=Active,metadata.name="+a)
	}
	for _, s := range terms {
		all = append(all, selection{fields: s})
	}
	all = append(all, selection{"color=red", "metadata.name=" + a}, selection{"color!=red", "metadata.name!=" + b})
	for i := range all {
		all[i].labels = "test=" + id + "," + all[i].labels
		if all[i].labels == "test="+id+"," {
			all[i].labels = "test=" + id
		}
	}
	return all
}

// TestSelectorsAreNative compares what is selected of a list, or why it cannot be.
func TestSelectorsAreNative(t *testing.T) {
	t.Parallel()
	const id = "select"
	forEveryKind(t, func(t *testing.T, k kind) {
		for i, set := range []labels.Set{
			{"color": "red", "size": "", "rank": "1"},
			{"color": "blue", "rank": "2"},
			{"color": "", "rank": "x"},
			{"size": "big"},
			{"color": "red", "size": "big"},
		} {
			object := k.object(fmt.Sprintf("%s-%d", id, i), labels.Merge(set, labels.Set{"test": id}))
			if k.native.Resource == "nodes" && i%2 == 0 {
				require.NoError(t, unstructured.SetNestedField(object.Object, true, "spec", "unschedulable"))
			}
			k.await(t, k.create(t, object))
		}
		config := system.AdminConfig(t)
		for _, s := range k.selections(id, "select-1", "select-4") {
			t.Run(s.String(), func(t *testing.T) {
				target := query("labelSelector", s.labels, "fieldSelector", s.fields)
				want := ask(t, config, http.MethodGet, k.nativePath()+target, "", "")
				if want.Code == http.StatusOK {
					k.compare(t, target, "")
					return
				}
				got := ask(t, config, http.MethodGet, k.viewPath()+target, "", "")
				if diff := cmp.Diff(k.failureOf(t, want), k.failureOf(t, got)); diff != "" {
					t.Errorf("(-native +view):\n%s", diff)
				}
			})
		}
	})
}

// watchPair is the same watch of the native resource and of the view.
type watchPair struct {
	selection
	native, view *stream
	// last is the revision of the last change that the watches are told of, if any is.
	last string
}

// TestWatchedSelectorsAreNative changes an object so that it begins to match, and
// ceases to, and compares what watches of each selector are told.
func TestWatchedSelectorsAreNative(t *testing.T) {
	t.Parallel()
	const id = "select-watch"
	config := system.AdminConfig(t)
	// One kind after the other: a user may have so many watches open.
	forEveryKind(t, func(t *testing.T, k kind) {
		k.create(t, k.object(id+"-b", map[string]string{"test": id, "color": "red", "size": "big"}))
		object := k.create(t, k.object(id+"-a", map[string]string{"test": id, "color": "red"}))
		k.await(t, object)
		var pairs []*watchPair
		for _, s := range k.selections(id, id+"-a", id+"-b") {
			if pair := k.openPair(t, config, s); pair != nil {
				pairs = append(pairs, pair)
			}
		}
		patches := []string{
			`{"metadata":{"labels":{"color":"blue"}}}`,
			`{"metadata":{"labels":{"color":"","size":"big","rank":"2"}}}`,
			`{"metadata":{"labels":{"color":null,"rank":null}}}`,
			`{"metadata":{"labels":{"color":"red"}}}`,
			`{"metadata":{"annotations":{"note":"still red"}}}`,
			`{"metadata":{"labels":{"color":"green","size":null,"rank":"1"}}}`,
		}
		if k.native.Resource == "nodes" {
			patches = append(patches, `{"spec":{"unschedulable":true}}`, `{"metadata":{"labels":{"color":"red"}}}`, `{"spec":{"unschedulable":null}}`)
		}
		for _, patch := range patches {
			before := object
			var err error
			object, err = k.client(t).Patch(t.Context(), object.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			require.NoError(t, err)
			for _, pair := range pairs {
				if k.matches(t, pair.selection, before) || k.matches(t, pair.selection, object) {
					pair.last = object.GetResourceVersion()
				}
			}
		}
		for _, pair := range pairs {
			t.Run(pair.String(), pair.compare)
		}
	})
}

// openPair opens both watches, or returns nil if the native one is refused.
func (k kind) openPair(t *testing.T, config *rest.Config, s selection) *watchPair {
	t.Helper()
	target := query("watch", "1", "labelSelector", s.labels, "fieldSelector", s.fields,
		"sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "allowWatchBookmarks", "true")
	native := openStream(t, config, k.nativePath()+target, "")
	view := openStream(t, config, k.viewPath()+target, "")
	require.Equal(t, native.response.StatusCode, view.response.StatusCode, "%s", s)
	if native.response.StatusCode != http.StatusOK {
		return nil
	}
	return &watchPair{selection: s, native: native, view: view}
}

// compare reads both watches to the end.
func (p *watchPair) compare(t *testing.T) {
	// The initial events, and those of the changes.
	stops := []func(frame) bool{func(f frame) bool { return f.Type == watch.Bookmark }}
	if p.last != "" {
		stops = append(stops, func(f frame) bool { return f.metadata().ResourceVersion == p.last })
	}
	p.compareUntil(t, stops...)
}

// compareUntil compares what both watches are told until each of the stops in turn.
func (p *watchPair) compareUntil(t *testing.T, stops ...func(frame) bool) {
	t.Helper()
	told := func(s *stream) (events []string) {
		defer s.end()
		for _, stop := range stops {
			for _, f := range s.until(t, stop) {
				// Each server has bookmarks of its own.
				if f.Type != watch.Bookmark {
					events = append(events, f.summary())
				}
			}
		}
		return events
	}
	if diff := cmp.Diff(told(p.native), told(p.view)); diff != "" {
		t.Errorf("(-native +view):\n%s", diff)
	}
}

// matches reports whether a selection takes an object.
func (k kind) matches(t *testing.T, s selection, object *unstructured.Unstructured) bool {
	t.Helper()
	byLabel, err := labels.Parse(s.labels)
	require.NoError(t, err)
	byField, err := fields.ParseSelector(s.fields)
	require.NoError(t, err)
	unschedulable, _, err := unstructured.NestedBool(object.Object, "spec", "unschedulable")
	require.NoError(t, err)
	phase, _, err := unstructured.NestedString(object.Object, "status", "phase")
	require.NoError(t, err)
	return byLabel.Matches(labels.Set(object.GetLabels())) && byField.Matches(fields.Set{
		"metadata.name": object.GetName(), "status.phase": phase, "spec.unschedulable": strconv.FormatBool(unschedulable),
	})
}

// TestWatchedPhasesAreNative compares what watches by phase are told of a namespace
// that comes and goes.
func TestWatchedPhasesAreNative(t *testing.T) {
	t.Parallel()
	const id = "select-phase"
	k := kindOf(t, "namespaces")
	config := system.AdminConfig(t)
	var pairs []*watchPair
	for _, fields := range []string{"status.phase=Active", "status.phase!=Active", "status.phase=Terminating", "metadata.name=" + id, ""} {
		pairs = append(pairs, k.openPair(t, config, selection{"test=" + id, fields}))
	}
	object := k.object(id, map[string]string{"test": id})
	object.SetFinalizers([]string{"example.com/keep"})
	k.create(t, object)
	require.NoError(t, k.client(t).Delete(t.Context(), id, metav1.DeleteOptions{}))
	k.release(t, id)
	deleted := func(f frame) bool { return f.Type == watch.Deleted }
	for _, pair := range pairs {
		t.Run(pair.String(), func(t *testing.T) { pair.compareUntil(t, deleted) })
	}
}
