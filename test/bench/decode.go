// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// newDecoder returns a decoder of everything that is asked for.
func newDecoder() (runtime.Decoder, error) {
	scheme := runtime.NewScheme()
	err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme))
	return serializer.NewCodecFactory(scheme).UniversalDeserializer(), err
}

// check asks once, and returns an error unless the answer is in the media type and
// holds exactly the objects of these names.
func (c *client) check(ctx context.Context, q question, want []string) (answer, error) {
	var body bytes.Buffer
	got, err := c.ask(ctx, q, &body)
	if err != nil {
		return got, err
	}
	if mediaType, _, _ := strings.Cut(q.accept, ";"); !strings.HasPrefix(got.contentType, mediaType) {
		return got, fmt.Errorf("%s: the answer is in %q", q.target, got.contentType)
	}
	names, err := c.names(q, body.Bytes())
	if err != nil {
		return got, fmt.Errorf("read answer to %s: %w", q.target, err)
	}
	if !slices.Equal(names, want) {
		return got, fmt.Errorf("%s: the answer holds %d objects, not the %d expected: %.200q", q.target, len(names), len(want), names)
	}
	return got, nil
}

// names returns the names of the objects in an answer. It returns an error unless
// they are as the request asked for.
func (c *client) names(q question, body []byte) ([]string, error) {
	if q.refused {
		return nil, nil
	}
	if q.initialEvents {
		return initialNames(body, c.decoder)
	}
	object, _, err := c.decoder.Decode(body, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if table := strings.Contains(q.accept, "as=Table"); table != isTable(object) {
		return nil, fmt.Errorf("to Accept: %s comes a %T", q.accept, object)
	}
	return objectNames(object)
}

func isTable(object runtime.Object) bool {
	_, ok := object.(*metav1.Table)
	return ok
}

// objectNames returns the names of the objects in a list or a Table, or of one object.
func objectNames(object runtime.Object) ([]string, error) {
	names := []string{}
	add := func(o runtime.Object) error {
		accessor, err := meta.Accessor(o)
		if err == nil {
			names = append(names, accessor.GetName())
		}
		return err
	}
	if table, ok := object.(*metav1.Table); ok {
		for _, row := range table.Rows {
			// The first column is the name.
			name, ok := row.Cells[0].(string)
			if !ok {
				return nil, fmt.Errorf("the first cell is a %T", row.Cells[0])
			}
			names = append(names, name)
		}
		return names, nil
	}
	var err error
	if meta.IsListType(object) {
		err = meta.EachListItem(object, add)
	} else {
		err = add(object)
	}
	return names, err
}
