// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// encoders are those of a generic API server, see NewDefaultAPIGroupInfo in
// k8s.io/apiserver/pkg/server, with streaming on and off.
var encoders = map[string]func(scheme *runtime.Scheme, streaming bool) runtime.Encoder{
	"json": func(scheme *runtime.Scheme, streaming bool) runtime.Encoder {
		return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{StreamingCollectionsEncoding: streaming})
	},
	"protobuf": func(scheme *runtime.Scheme, streaming bool) runtime.Encoder {
		return protobuf.NewSerializerWithOptions(scheme, scheme, protobuf.SerializerOptions{StreamingCollectionsEncoding: streaming})
	},
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

func TestListsStream(t *testing.T) {
	t.Parallel()
	const length = 100
	scheme, codecs := newCodecs(t)
	for name, k := range kinds {
		for mediaType, newEncoder := range encoders {
			t.Run(name+"/"+mediaType, func(t *testing.T) {
				t.Parallel()
				list := empty(k.viewList)
				items := reflect.ValueOf(list).Elem().FieldByName("Items")
				items.Set(reflect.MakeSlice(items.Type(), length, length))
				filler := newFiller(1, codecs)
				for i := range length {
					filler.Fill(items.Index(i).Addr().Interface())
				}
				list.GetObjectKind().SetGroupVersionKind(kindOf(t, scheme, list))

				var buffered, streamed writes
				require.NoError(t, newEncoder(scheme, false).Encode(list, &buffered))
				require.NoError(t, newEncoder(scheme, true).Encode(list, &streamed))

				assert.GreaterOrEqual(t, streamed.count, length, "writes")
				assert.Less(t, streamed.largest, streamed.Len()/10, "the largest write of %d bytes", streamed.Len())
				assert.True(t, bytes.Equal(buffered.Bytes(), streamed.Bytes()), "what is streamed is what is not")
			})
		}
	}
}

// mistagged is a list with a wrong tag in JSON and in protobuf.
type mistagged struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata" protobuf:"bytes,1,opt,name=listMeta"`
	Items           []TenantNamespace `json:"items" protobuf:"bytes,2,rep,name=items"`
}

func (m *mistagged) list() *TenantNamespaceList         { return (*TenantNamespaceList)(m) }
func (m *mistagged) DeepCopyObject() runtime.Object     { return (*mistagged)(m.list().DeepCopy()) }
func (m *mistagged) Marshal() ([]byte, error)           { return m.list().Marshal() }
func (m *mistagged) MarshalTo(data []byte) (int, error) { return m.list().MarshalTo(data) }
func (m *mistagged) Size() int                          { return m.list().Size() }
func (m *mistagged) MarshalToSizedBuffer(d []byte) (int, error) {
	return m.list().MarshalToSizedBuffer(d)
}

// TestMistaggedListsDoNotStream shows that TestListsStream can fail: nothing but
// the tags tells the encoders that they may stream.
func TestMistaggedListsDoNotStream(t *testing.T) {
	t.Parallel()
	scheme, codecs := newCodecs(t)
	for mediaType, newEncoder := range encoders {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			list := &mistagged{TypeMeta: metav1.TypeMeta{APIVersion: SchemeGroupVersion.String(), Kind: "Mistagged"}}
			list.Items = make([]TenantNamespace, 100)
			filler := newFiller(1, codecs)
			for i := range list.Items {
				filler.Fill(&list.Items[i])
			}
			var got writes
			require.NoError(t, newEncoder(scheme, true).Encode(list, &got))
			assert.Greater(t, got.largest, got.Len()*9/10, "the largest write of %d bytes", got.Len())
		})
	}
}
