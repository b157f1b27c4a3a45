// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"
)

// message is what the protobuf serializer asks of an object.
type message interface {
	runtime.Object
	runtime.ProtobufMarshaller
	runtime.ProtobufReverseMarshaller
	Marshal() ([]byte, error)
	Unmarshal(data []byte) error
	Reset()
}

// TestRoundTrip runs the same objects every time.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const seed = 1
	testRoundTrips(t, seed, 60)
}

// TestRoundTripRandom runs other objects every time.
func TestRoundTripRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Int64()
	t.Logf("seed %d", seed)
	testRoundTrips(t, seed, 20)
}

func testRoundTrips(t *testing.T, seed int64, iterations int) {
	t.Helper()
	scheme, codecs := newCodecs(t)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			filler := newFiller(seed, codecs)
			for range iterations {
				native, nativeList := empty(k.native), empty(k.nativeList)
				filler.Fill(native)
				filler.Fill(nativeList)
				testRoundTrip(t, scheme, codecs, native, toView(native, k.view))
				testRoundTrip(t, scheme, codecs, nativeList, listToView(nativeList, k.viewList))
				if t.Failed() {
					return
				}
			}
		})
	}
}

// testRoundTrip compares the encodings of an object that is given natively and as
// a view, and decodes them.
func testRoundTrip(t *testing.T, scheme *runtime.Scheme, codecs serializer.CodecFactory, native, view runtime.Object) {
	t.Helper()
	nativeGVK, viewGVK := kindOf(t, scheme, native), kindOf(t, scheme, view)
	for _, info := range codecs.SupportedMediaTypes() {
		nativeData := encode(t, codecs, info, nativeGVK.GroupVersion(), native)
		viewData := encode(t, codecs, info, viewGVK.GroupVersion(), view)

		// What a proxy does.
		if renamed := withKind(t, info.MediaType, viewData, viewGVK, nativeGVK); !bytes.Equal(nativeData, renamed) {
			t.Errorf("%s of %s but for its kind (-native +view):\n%s", info.MediaType, viewGVK.Kind, cmp.Diff(string(nativeData), string(renamed)))
		}

		decoded, gvk, err := codecs.UniversalDeserializer().Decode(viewData, nil, nil)
		require.NoError(t, err, "decode %s of %s", info.MediaType, viewGVK.Kind)
		assert.Equal(t, viewGVK, *gvk, "kind decoded from %s", info.MediaType)
		decoded.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		if !apiequality.Semantic.DeepEqual(view, decoded) {
			t.Errorf("%s of %s, decoded (-before +after):\n%s", info.MediaType, viewGVK.Kind, cmp.Diff(view, decoded))
		}
	}
	testMessages(t, native.(message), view.(message))
}

// testMessages calls the protobuf methods themselves.
func testMessages(t *testing.T, native, view message) {
	t.Helper()
	want, err := native.Marshal()
	require.NoError(t, err)
	got, err := view.Marshal()
	require.NoError(t, err)
	assert.Equal(t, want, got, "Marshal")
	assert.Equal(t, len(want), view.Size(), "Size")

	buffer := make([]byte, len(want))
	n, err := view.MarshalTo(buffer)
	require.NoError(t, err)
	assert.Equal(t, want, buffer[:n], "MarshalTo")

	clear(buffer)
	n, err = view.MarshalToSizedBuffer(buffer)
	require.NoError(t, err)
	assert.Equal(t, want, buffer[len(buffer)-n:], "MarshalToSizedBuffer")

	crossed := empty(native).(message)
	require.NoError(t, crossed.Unmarshal(got))
	assert.True(t, apiequality.Semantic.DeepEqual(native, crossed), "the native kind reads what the view writes")

	reset := view.DeepCopyObject().(message)
	reset.Reset()
	assert.Equal(t, empty(view), runtime.Object(reset), "Reset")
}

// TestUnmarshalMerges holds a view to what native messages do with data that
// arrive in parts: fields are replaced, repeated ones appended.
func TestUnmarshalMerges(t *testing.T) {
	t.Parallel()
	_, codecs := newCodecs(t)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			filler := newFiller(1, codecs)
			for range 20 {
				native, nativeList := empty(k.native).(message), empty(k.nativeList).(message)
				view, viewList := empty(k.view).(message), empty(k.viewList).(message)
				for range 3 {
					for _, pair := range [][2]message{{native, view}, {nativeList, viewList}} {
						part := empty(pair[0]).(message)
						filler.Fill(part)
						data, err := part.Marshal()
						require.NoError(t, err)
						require.NoError(t, pair[0].Unmarshal(data))
						require.NoError(t, pair[1].Unmarshal(data))
					}
				}
				require.Equal(t, toView(native, k.view), runtime.Object(view))
				require.Equal(t, listToView(nativeList, k.viewList), runtime.Object(viewList))
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	_, codecs := newCodecs(f)
	for _, k := range kinds {
		filler := newFiller(1, codecs)
		for range 10 {
			for _, native := range []runtime.Object{empty(k.native), empty(k.nativeList)} {
				filler.Fill(native)
				data, err := native.(message).Marshal()
				require.NoError(f, err)
				f.Add(data)
				f.Add(data[:len(data)/2])
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, k := range kinds {
			native, view := empty(k.native), empty(k.view)
			if agree(t, data, native.(message), view.(message)) {
				assert.Equal(t, toView(native, k.view), view)
			}
			nativeList, viewList := empty(k.nativeList), empty(k.viewList)
			if agree(t, data, nativeList.(message), viewList.(message)) {
				assert.Equal(t, listToView(nativeList, k.viewList), viewList)
			}
		}
	})
}

// agree reports whether both messages can be read from the data. It fails the
// test if one can and the other cannot.
func agree(t *testing.T, data []byte, native, view message) bool {
	t.Helper()
	want, got := native.Unmarshal(data), view.Unmarshal(data)
	assert.Equal(t, want, got)
	return want == nil && got == nil
}

func newCodecs(tb testing.TB) (*runtime.Scheme, serializer.CodecFactory) {
	tb.Helper()
	scheme := runtime.NewScheme()
	require.NoError(tb, AddToScheme(scheme))
	for _, k := range kinds {
		gv := schema.GroupVersion{Group: "native." + structOf(k.native).Name(), Version: "v1"}
		scheme.AddKnownTypes(gv, k.native, k.nativeList)
	}
	return scheme, serializer.NewCodecFactory(scheme)
}

// newFiller returns what fuzzer.FuzzerFor does, with longer lists.
func newFiller(seed int64, codecs serializer.CodecFactory) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(.5).NumElements(0, 3).
		Funcs(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs)(codecs)...)
}

func kindOf(tb testing.TB, scheme *runtime.Scheme, object runtime.Object) schema.GroupVersionKind {
	tb.Helper()
	gvks, _, err := scheme.ObjectKinds(object)
	require.NoError(tb, err)
	require.Len(tb, gvks, 1)
	return gvks[0]
}

func encode(tb testing.TB, codecs serializer.CodecFactory, info runtime.SerializerInfo, gv schema.GroupVersion, object runtime.Object) []byte {
	tb.Helper()
	data, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, gv), object)
	require.NoError(tb, err)
	return data
}

// withKind replaces the kind of an encoded object and nothing else.
func withKind(tb testing.TB, mediaType string, data []byte, from, to schema.GroupVersionKind) []byte {
	tb.Helper()
	replace := func(from, to string) {
		require.Contains(tb, string(data), from)
		data = bytes.Replace(data, []byte(from), []byte(to), 1)
	}
	switch mediaType {
	case runtime.ContentTypeJSON:
		head := func(gvk schema.GroupVersionKind) string {
			return `{"kind":"` + gvk.Kind + `","apiVersion":"` + gvk.GroupVersion().String() + `",`
		}
		require.True(tb, bytes.HasPrefix(data, []byte(head(from))))
		replace(head(from), head(to))
	case runtime.ContentTypeYAML:
		data = append([]byte("\n"), data...) // the first line is found as the others are
		replace("\napiVersion: "+from.GroupVersion().String()+"\n", "\napiVersion: "+to.GroupVersion().String()+"\n")
		replace("\nkind: "+from.Kind+"\n", "\nkind: "+to.Kind+"\n")
		data = data[1:]
	case runtime.ContentTypeProtobuf:
		magic := []byte("k8s\x00")
		require.True(tb, bytes.HasPrefix(data, magic))
		unknown := &runtime.Unknown{}
		require.NoError(tb, unknown.Unmarshal(data[len(magic):]))
		assert.Equal(tb, runtime.TypeMeta{APIVersion: from.GroupVersion().String(), Kind: from.Kind}, unknown.TypeMeta)
		unknown.TypeMeta = runtime.TypeMeta{APIVersion: to.GroupVersion().String(), Kind: to.Kind}
		envelope, err := unknown.Marshal()
		require.NoError(tb, err)
		data = append(magic, envelope...)
	default:
		tb.Fatalf("no test of %s", mediaType)
	}
	return data
}

// empty returns a new object of the same type.
func empty(object runtime.Object) runtime.Object {
	return reflect.New(structOf(object)).Interface().(runtime.Object)
}

// toView converts a native object as Go does.
func toView(native, view runtime.Object) runtime.Object {
	return reflect.ValueOf(native).Convert(reflect.TypeOf(view)).Interface().(runtime.Object)
}

// listToView converts a native list item by item, without the conversions under test.
func listToView(native, view runtime.Object) runtime.Object {
	from, to := reflect.ValueOf(native).Elem(), reflect.New(structOf(view)).Elem()
	for i := range from.NumField() {
		if from.Field(i).Type() == to.Field(i).Type() {
			to.Field(i).Set(from.Field(i))
			continue
		}
		items := from.Field(i)
		if items.IsNil() {
			continue
		}
		converted := reflect.MakeSlice(to.Field(i).Type(), items.Len(), items.Len())
		for j := range items.Len() {
			converted.Index(j).Set(items.Index(j).Convert(converted.Type().Elem()))
		}
		to.Field(i).Set(converted)
	}
	return to.Addr().Interface().(runtime.Object)
}
