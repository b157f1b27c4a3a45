// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestUpdateOnlyWhatDiffers(t *testing.T) {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("apiregistration.k8s.io/v1")
	object.SetKind("APIService")
	object.SetName(apiService)
	require.NoError(t, injectCA(object, "a"))
	updates := 0
	underlying := fake.NewClientBuilder().WithObjects(object).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.UpdateOption) error {
			updates++
			return c.Update(ctx, object, opts...)
		},
	}).Build()
	c := sparingClient{underlying, underlying}
	is := object.DeepCopy()
	require.NoError(t, underlying.Get(t.Context(), client.ObjectKeyFromObject(object), is))

	for _, step := range []struct {
		what string
		ca   string
		want int
	}{
		{"the same", "a", 0},
		{"another CA", "b", 1},
		{"the same again", "b", 1},
	} {
		require.NoError(t, injectCA(is, step.ca))
		require.NoError(t, c.Update(t.Context(), is), step.what)
		assert.Equal(t, step.want, updates, "updates after %s", step.what)
	}
	missing := is.DeepCopy()
	missing.SetName("missing")
	assert.Error(t, c.Update(t.Context(), missing), "an object that is not there")
}

func injectCA(object *unstructured.Unstructured, ca string) error {
	return unstructured.SetNestedField(object.Object, ca, "spec", "caBundle")
}
