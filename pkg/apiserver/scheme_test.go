// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

func TestScheme(t *testing.T) {
	t.Parallel()
	group := v1alpha1.SchemeGroupVersion
	for _, want := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Status"}, // what every error is
		{Version: "v1", Kind: "APIGroup"},
		{Version: "v1", Kind: "APIGroupList"},
		{Version: "v1", Kind: "APIResourceList"},
		{Version: "v1", Kind: "APIVersions"},
		{Version: "v1", Kind: "ListOptions"},
		{Version: "v1", Kind: "GetOptions"},
		{Version: "v1", Kind: "WatchEvent"},
		group.WithKind("TenantNamespace"),
		group.WithKind("TenantNamespaceList"),
		group.WithKind("ListOptions"),
		group.WithKind("GetOptions"),
		group.WithKind("WatchEvent"),
	} {
		assert.True(t, Scheme.Recognizes(want), want)
	}
	unversioned, known := Scheme.IsUnversioned(&metav1.Status{})
	assert.True(t, unversioned && known, "Status is the same in every group")
	assert.Equal(t, []schema.GroupVersion{group}, Scheme.PrioritizedVersionsForGroup(group.Group))

	_, _, err := Scheme.ConvertFieldLabel(group.WithKind("TenantNamespace"), "status.phase", "Active")
	assert.NoError(t, err, "field labels are registered")
	_, _, err = Scheme.ConvertFieldLabel(group.WithKind("TenantNamespace"), "bogus", "")
	assert.Error(t, err)
}

func TestStatusIsEncoded(t *testing.T) {
	t.Parallel()
	for _, info := range Codecs.SupportedMediaTypes() {
		data, err := runtime.Encode(Codecs.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion), &metav1.Status{Reason: metav1.StatusReasonNotFound})
		require.NoError(t, err, info.MediaType)
		decoded, gvk, err := Codecs.UniversalDeserializer().Decode(data, nil, nil)
		require.NoError(t, err, info.MediaType)
		assert.Equal(t, schema.GroupVersionKind{Version: "v1", Kind: "Status"}, *gvk, info.MediaType)
		assert.Equal(t, metav1.StatusReasonNotFound, decoded.(*metav1.Status).Reason, info.MediaType)
	}
}

// TestListsStream holds the codecs that serve the group to writing lists item by
// item. That the kinds allow it is tested beside them.
func TestListsStream(t *testing.T) {
	t.Parallel()
	const length = 100
	list := &v1alpha1.TenantNamespaceList{Items: make([]v1alpha1.TenantNamespace, length)}
	for i := range list.Items {
		list.Items[i].Status.Phase = corev1.NamespaceActive
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(v1alpha1.GroupName, Scheme, metav1.ParameterCodec, Codecs)
	for _, info := range group.NegotiatedSerializer.SupportedMediaTypes() {
		if info.MediaType == runtime.ContentTypeYAML {
			continue // is always buffered
		}
		var w writes
		require.NoError(t, group.NegotiatedSerializer.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion).Encode(list, &w))
		assert.GreaterOrEqual(t, w.count, length, info.MediaType)
		assert.Less(t, w.largest, w.Len()/10, info.MediaType)
	}
}

// writes notes what it is given, and in what pieces.
type writes struct {
	bytes.Buffer
	count, largest int
}

func (w *writes) Write(data []byte) (int, error) {
	w.count++
	w.largest = max(w.largest, len(data))
	return w.Buffer.Write(data)
}
