// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// encoded returns an object in protobuf, as API servers send it.
func encoded(tb testing.TB, object runtime.Object, version schema.GroupVersion) []byte {
	tb.Helper()
	codecs := newCodecs(tb)
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		tb.Fatal("there is no protobuf")
	}
	data, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, version), object)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func list() (view *v1alpha1.TenantNamespaceList, native *corev1.NamespaceList) {
	native = &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"kind": "TenantNamespace"}}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}},
	}}
	view = &v1alpha1.TenantNamespaceList{ListMeta: native.ListMeta}
	for _, item := range native.Items {
		view.Items = append(view.Items, v1alpha1.TenantNamespace(item))
	}
	return view, native
}

func TestProtobuf(t *testing.T) {
	view, native := list()
	one := view.Items[0]
	for name, test := range map[string]struct{ view, native runtime.Object }{
		"list":   {view, native},
		"object": {&one, &native.Items[0]},
	} {
		t.Run(name, func(t *testing.T) {
			given, want := encoded(t, test.view, v1alpha1.SchemeGroupVersion), encoded(t, test.native, corev1.SchemeGroupVersion)
			var got bytes.Buffer
			if err := Protobuf(namespaces, &got, iotest.OneByteReader(bytes.NewReader(given))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Bytes()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func frame(tb testing.TB, kind string, object []byte) []byte {
	tb.Helper()
	data, err := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

func TestProtobufEvents(t *testing.T) {
	view, native := list()
	one := view.Items[0]
	gone := func(resource schema.GroupResource) []byte {
		return encoded(t, new(apierrors.NewNotFound(resource, "a").Status()), schema.GroupVersion{Version: "v1"})
	}
	given := slicesOf(
		frame(t, "ADDED", encoded(t, &one, v1alpha1.SchemeGroupVersion)),
		frame(t, "ERROR", gone(schema.GroupResource{Group: v1alpha1.GroupName, Resource: "tenantnamespaces"})),
	)
	want := [][]byte{
		frame(t, "ADDED", encoded(t, &native.Items[0], corev1.SchemeGroupVersion)),
		frame(t, "ERROR", gone(schema.GroupResource{Resource: "namespaces"})),
	}
	got, err := framesOf(ProtobufEvents(namespaces, iotest.HalfReader(bytes.NewReader(given))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := 1; i < len(given); i++ {
		if i == len(frame(t, "ADDED", encoded(t, &one, v1alpha1.SchemeGroupVersion))) {
			continue
		}
		if _, err := framesOf(ProtobufEvents(namespaces, bytes.NewReader(given[:i]))); err == nil {
			t.Errorf("%d of %d bytes: want an error", i, len(given))
		}
	}
}

func slicesOf(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestProtobufRefused(t *testing.T) {
	for _, given := range []string{
		"", "k8s", "k8s\x00", "json", "k8s\x00\x12\x00", "k8s\x00\x0a\xff\xff\x7f", "k8s\x00\x0a\x05ab", "k8s\x00\x0a\x02\x0a\x7f", `{"kind":"TenantNamespace"}`,
	} {
		if err := Protobuf(namespaces, &bytes.Buffer{}, strings.NewReader(given)); err == nil {
			t.Errorf("%q: want an error", given)
		}
	}
}

// FuzzProtobuf has nothing but the kind change.
func FuzzProtobuf(f *testing.F) {
	view, _ := list()
	f.Add(encoded(f, view, v1alpha1.SchemeGroupVersion))
	f.Add([]byte("k8s\x00\x0a\x00"))
	f.Fuzz(func(t *testing.T, given []byte) {
		var got bytes.Buffer
		if err := Protobuf(namespaces, &got, bytes.NewReader(given)); err != nil {
			return
		}
		was, is := &runtime.Unknown{}, &runtime.Unknown{}
		if err := was.Unmarshal(given[len(magic):]); err != nil {
			return
		}
		if err := is.Unmarshal(got.Bytes()[len(magic):]); err != nil {
			t.Fatalf("%q became %q: %v", given, got.Bytes(), err)
		}
		was.Kind, was.APIVersion = namespaces.kind(was.Kind), namespaces.apiVersion(was.APIVersion)
		if diff := cmp.Diff(was, is); diff != "" {
			t.Errorf("%q (-want +got):\n%s", given, diff)
		}
	})
}

// FuzzProtobufEvents has what comes out have the same events as what goes in.
func FuzzProtobufEvents(f *testing.F) {
	view, _ := list()
	object := encoded(f, view, v1alpha1.SchemeGroupVersion)
	f.Add(slicesOf(frame(f, "ADDED", object), frame(f, "BOOKMARK", object)))
	f.Add(frame(f, "ERROR", encoded(f, &metav1.Status{Message: "x"}, schema.GroupVersion{Version: "v1"})))
	f.Fuzz(func(t *testing.T, given []byte) {
		got, err := framesOf(ProtobufEvents(namespaces, bytes.NewReader(given)))
		if err != nil {
			return
		}
		again, err := framesOf(ProtobufEvents(namespaces, bytes.NewReader(bytes.Join(got, nil))))
		if err != nil {
			t.Fatalf("%q became %q: %v", given, got, err)
		}
		if len(got) != len(again) {
			t.Errorf("%d events became %d", len(got), len(again))
		}
	})
}
