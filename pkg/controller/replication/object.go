// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// serverFields are fields of metadata that are not for those who write an object.
var serverFields = []string{
	"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	"managedFields", "selfLink", "generateName", "namespace",
}

// wantedObject is an object as somebody wrote it, without what is not theirs to write.
type wantedObject struct {
	object, metadata map[string]any
	// name and namespace are what it said.
	name, namespace string
}

// normalize returns an object with the metadata that each gets, and its kind. The
// object itself is not changed.
func normalize(object map[string]any, additional capsulev1beta2.AdditionalMetadata) (wantedObject, schema.GroupVersionKind, error) {
	u := unstructured.Unstructured{Object: object}
	gvk, w := u.GroupVersionKind(), wantedObject{name: u.GetName(), namespace: u.GetNamespace()}
	switch _, err := schema.ParseGroupVersion(u.GetAPIVersion()); {
	case err != nil:
		return w, gvk, err
	case u.GetAPIVersion() == "" || gvk.Version == "":
		return w, gvk, errors.New("an object without apiVersion")
	case gvk.Kind == "":
		return w, gvk, errors.New("an object without kind")
	case w.name == "":
		return w, gvk, fmt.Errorf("an object without metadata.name, of kind %s", gvk.Kind)
	}
	w.object = maps.Clone(object)
	delete(w.object, "status")
	metadata, _ := object["metadata"].(map[string]any)
	w.metadata = maps.Clone(metadata)
	for _, field := range serverFields {
		delete(w.metadata, field)
	}
	w.object["metadata"] = w.metadata
	if err := setStrings(w.metadata, "labels", additional.Labels); err != nil {
		return w, gvk, fmt.Errorf("%s %s: %w", gvk.Kind, w.name, err)
	}
	if err := setStrings(w.metadata, "annotations", additional.Annotations); err != nil {
		return w, gvk, fmt.Errorf("%s %s: %w", gvk.Kind, w.name, err)
	}
	if labels, ok := w.metadata["labels"].(map[string]any); ok {
		// They say whose an object is, and are written with it.
		delete(labels, capsulev1beta2.CreatedByLabel)
		delete(labels, replicatedByLabel)
		labels[capsulev1beta2.ManagedByLabel] = capsulev1beta2.ManagedByReplications
	}
	return w, gvk, nil
}

// setStrings replaces a map in the metadata by one with more in it. Labels are always
// there afterwards.
func setStrings(metadata map[string]any, field string, more map[string]string) error {
	present, ok := metadata[field].(map[string]any)
	if !ok && metadata[field] != nil {
		return fmt.Errorf("metadata.%s is no object", field)
	}
	all := make(map[string]any, len(present)+len(more)+1)
	maps.Copy(all, present)
	for key, value := range more {
		all[key] = value
	}
	if len(all) > 0 || field == "labels" {
		metadata[field] = all
	} else {
		delete(metadata, field)
	}
	return nil
}

// merge adds what another part of the spec wants of the same object. If they disagree
// the item fails.
func (i *item) merge(origin, version string, object map[string]any) {
	if i.err != nil {
		return
	}
	if i.version != version {
		i.err = fmt.Errorf("%s and %s disagree about its version: %s, %s", i.origin, origin, i.version, version)
		return
	}
	merged, err := mergeMaps(i.object, object, "")
	if err != nil {
		i.err = fmt.Errorf("%s and %s disagree about %w", i.origin, origin, err)
		return
	}
	i.object = merged
}

// disagreementError names a field for which there are two values.
type disagreementError struct{ path string }

func (e *disagreementError) Error() string { return e.path }

// mergeMaps returns the union of two JSON objects, and an error if they have
// different values somewhere. Lists are values: they are equal or different.
func mergeMaps(a, b map[string]any, path string) (map[string]any, error) {
	merged := maps.Clone(a)
	// The first difference by name, so that a message is always the same.
	for _, key := range slices.Sorted(maps.Keys(b)) {
		present, ok := merged[key]
		if !ok {
			merged[key] = b[key]
			continue
		}
		one, ok1 := present.(map[string]any)
		other, ok2 := b[key].(map[string]any)
		switch {
		case ok1 && ok2:
			both, err := mergeMaps(one, other, path+"."+key)
			if err != nil {
				return nil, err
			}
			merged[key] = both
		case !reflect.DeepEqual(present, b[key]):
			return nil, &disagreementError{path + "." + key}
		}
	}
	return merged, nil
}
