// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// statesLabel is on every object of testdata/states.
const statesLabel = "test=states"

// state is a state that an object may be in, as testdata/states names it.
type state struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Finalizers  []string          `json:"finalizers"`
	// Deleted says that the object is being deleted, which a finalizer holds up.
	Deleted bool `json:"deleted"`
}

// createStates makes an object in each of the states of the kind, and returns
// their names.
func (k kind) createStates(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "states", k.native.Resource+".yaml"))
	require.NoError(t, err)
	data, err = yaml.YAMLToJSON(data)
	require.NoError(t, err)
	var states []any
	require.NoError(t, utiljson.Unmarshal(data, &states)) // keeps integers
	var names []string
	for _, fields := range states {
		var s state
		require.NoError(t, json.Unmarshal(asJSON(t, fields), &s))
		s.Name = "state-" + s.Name
		k.await(t, k.createState(t, s, fields.(map[string]any)))
		names = append(names, s.Name)
	}
	return names
}

func (k kind) createState(t *testing.T, s state, fields map[string]any) *unstructured.Unstructured {
	t.Helper()
	client := k.client(t)
	for _, field := range []string{"name", "labels", "annotations", "finalizers", "deleted"} {
		delete(fields, field)
	}
	labels := map[string]string{"test": "states"}
	maps.Copy(labels, s.Labels)
	object := k.object(s.Name, labels)
	object.SetAnnotations(s.Annotations)
	object.SetFinalizers(s.Finalizers)
	merge(object.Object, fields)
	stored := k.create(t, object)
	t.Cleanup(func() { k.release(t, s.Name) })
	var err error
	if status, ok := fields["status"]; ok {
		stored.Object["status"] = status
		stored, err = client.UpdateStatus(t.Context(), stored, metav1.UpdateOptions{})
		require.NoError(t, err, s.Name)
	}
	if s.Deleted {
		require.NoError(t, client.Delete(t.Context(), s.Name, metav1.DeleteOptions{}))
		stored, err = client.Get(t.Context(), s.Name, metav1.GetOptions{})
		require.NoError(t, err, s.Name)
	}
	return stored
}

// merge is a JSON merge patch.
func merge(into, from map[string]any) {
	for key, value := range from {
		fields, isMap := value.(map[string]any)
		present, wasMap := into[key].(map[string]any)
		switch {
		case isMap && wasMap:
			merge(present, fields)
		case value == nil:
			delete(into, key)
		default:
			into[key] = value
		}
	}
}

// release lets an object go that finalizers hold.
func (k kind) release(t *testing.T, name string) {
	t.Helper()
	_, err := k.client(t).Patch(context.WithoutCancel(t.Context()), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("release %s %s: %v", k, name, err)
	}
}
