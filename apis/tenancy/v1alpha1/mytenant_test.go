// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// TestMyTenantKeepsWhatItDoesNotKnow holds spec and status to coming out as they
// went in: every field, in its place, every number to its last digit.
func TestMyTenantKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, AddToScheme(scheme))
	codecs := serializer.NewCodecFactory(scheme)
	const head = `{"kind":"MyTenant","apiVersion":"tenancy.capsule.io/v1alpha1",`
	for name, content := range map[string]string{
		"all":            `"metadata":{"name":"oil","labels":{"a":"b"}},"spec":{"owners":[{"kind":"User","name":"alice"}],"z":1,"a":{"of":[12345678901234567890,1.50,null,"ü"]}},"status":{"size":0}}`,
		"neither":        `"metadata":{"name":"oil"}}`,
		"an empty spec":  `"metadata":{"name":"oil"},"spec":{}}`,
		"a status alone": `"metadata":{"name":"oil"},"status":{"conditions":[]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := runtime.Decode(codecs.UniversalDeserializer(), []byte(head+content))
			require.NoError(t, err)
			assert.IsType(t, &MyTenant{}, object)
			data, err := runtime.Encode(codecs.LegacyCodec(SchemeGroupVersion), object.DeepCopyObject())
			require.NoError(t, err)
			assert.Equal(t, head+content+"\n", string(data))
		})
	}
}

// TestMyTenantHasNoProtobuf holds the kind, and its list, to what custom resources
// have: the protobuf serializer answers 406 for them.
func TestMyTenantHasNoProtobuf(t *testing.T) {
	t.Parallel()
	for _, object := range []runtime.Object{&MyTenant{}, &MyTenantList{}} {
		_, is := object.(runtime.ProtobufMarshaller)
		assert.False(t, is, "%T", object)
	}
}
