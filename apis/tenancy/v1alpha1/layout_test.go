// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// kind is a view kind beside its native one. All tests of this package are run
// for every kind here; TestEveryKindIsTested fails for one that is not. MyTenant,
// which has no native Go type, is in mytenant_test.go.
type kind struct {
	native, nativeList runtime.Object
	view, viewList     runtime.Object
}

var kinds = map[string]kind{
	"Namespace":        {&corev1.Namespace{}, &corev1.NamespaceList{}, &TenantNamespace{}, &TenantNamespaceList{}},
	"Node":             {&corev1.Node{}, &corev1.NodeList{}, &TenantNode{}, &TenantNodeList{}},
	"PersistentVolume": {&corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, &TenantPersistentVolume{}, &TenantPersistentVolumeList{}},
	"StorageClass":     {&storagev1.StorageClass{}, &storagev1.StorageClassList{}, &TenantStorageClass{}, &TenantStorageClassList{}},
	"IngressClass":     {&networkingv1.IngressClass{}, &networkingv1.IngressClassList{}, &TenantIngressClass{}, &TenantIngressClassList{}},
	"PriorityClass":    {&schedulingv1.PriorityClass{}, &schedulingv1.PriorityClassList{}, &TenantPriorityClass{}, &TenantPriorityClassList{}},
	"RuntimeClass":     {&nodev1.RuntimeClass{}, &nodev1.RuntimeClassList{}, &TenantRuntimeClass{}, &TenantRuntimeClassList{}},
}

func TestEveryKindIsTested(t *testing.T) {
	t.Parallel()
	got, want := []string{"MyTenant", "MyTenantList"}, []string(nil)
	for _, k := range kinds {
		got = append(got, structOf(k.view).Name(), structOf(k.viewList).Name())
	}
	scheme := runtime.NewScheme()
	require.NoError(t, AddToScheme(scheme))
	for name, goType := range scheme.KnownTypes(SchemeGroupVersion) {
		if goType.PkgPath() == reflect.TypeFor[TenantNamespace]().PkgPath() {
			want = append(want, name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds that the tests cover differ from the registered ones (-registered +covered):\n%s", diff)
	}
}

// TestLayout guards what convert.go and the protobuf methods rest on.
func TestLayout(t *testing.T) {
	t.Parallel()
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Empty(t, layoutDifferences(structOf(k.view), structOf(k.native)), "object")
			assert.Empty(t, layoutDifferences(structOf(k.viewList), structOf(k.nativeList)), "list")
			assert.True(t, reflect.TypeOf(k.view).ConvertibleTo(reflect.TypeOf(k.native)), "the object's pointer converts")
		})
	}
}

// TestListTags guards what the streaming encoders look for, see getListMeta and
// getStreamingListData in k8s.io/apimachinery/pkg/runtime/serializer.
func TestListTags(t *testing.T) {
	t.Parallel()
	type tags struct{ json, protobuf string }
	want := map[string]tags{
		"TypeMeta": {",inline", ""},
		"ListMeta": {"metadata,omitempty", "bytes,1,opt,name=metadata"},
		"Items":    {"items", "bytes,2,rep,name=items"},
	}
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]tags{}
			for field := range structOf(k.viewList).Fields() {
				got[field.Name] = tags{field.Tag.Get("json"), field.Tag.Get("protobuf")}
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(tags{})); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLayoutDifferences shows that TestLayout can fail.
func TestLayoutDifferences(t *testing.T) {
	t.Parallel()
	type moved struct {
		metav1.TypeMeta `json:",inline"`
		Items           []TenantNamespace `json:"items" protobuf:"bytes,2,rep,name=items"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	}
	type fewer struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	}
	type renumbered struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
		Items           []TenantNamespace `json:"items" protobuf:"bytes,3,rep,name=items"`
	}
	type renamed struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
		Items           []TenantNamespace `json:"list" protobuf:"bytes,2,rep,name=items"`
	}
	type pointers struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
		Items           []*TenantNamespace `json:"items" protobuf:"bytes,2,rep,name=items"`
	}
	type element struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
		Spec              corev1.NamespaceSpec   `json:"spec,omitempty" protobuf:"bytes,3,opt,name=spec"`
		Status            corev1.NamespaceStatus `json:"status,omitempty" protobuf:"bytes,2,opt,name=status"`
	}
	type elements struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
		Items           []element `json:"items" protobuf:"bytes,2,rep,name=items"`
	}
	for name, given := range map[string]reflect.Type{
		"fields in another order":        reflect.TypeFor[moved](),
		"a field less":                   reflect.TypeFor[fewer](),
		"another protobuf number":        reflect.TypeFor[renumbered](),
		"another JSON name":              reflect.TypeFor[renamed](),
		"items are pointers":             reflect.TypeFor[pointers](),
		"items differ in a protobuf tag": reflect.TypeFor[elements](),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.NotEmpty(t, layoutDifferences(given, reflect.TypeFor[corev1.NamespaceList]()))
		})
	}
}

// layoutDifferences returns in what two structs, and the structs of their slices,
// differ: in memory, in JSON and in protobuf.
func layoutDifferences(view, native reflect.Type) []string {
	var differences []string
	differ := func(what string, view, native any) {
		if view != native {
			differences = append(differences, fmt.Sprintf("%s: %v, natively %v", what, view, native))
		}
	}
	differ(view.Name()+": size", view.Size(), native.Size())
	differ(view.Name()+": alignment", view.Align(), native.Align())
	differ(view.Name()+": number of fields", view.NumField(), native.NumField())
	for i := range min(view.NumField(), native.NumField()) {
		v, n := view.Field(i), native.Field(i)
		where := view.Name() + "." + v.Name
		differ(where+": name", v.Name, n.Name)
		differ(where+": embedded", v.Anonymous, n.Anonymous)
		differ(where+": offset", v.Offset, n.Offset)
		differ(where+": JSON tag", jsonTag(v), jsonTag(n))
		differ(where+": protobuf tag", v.Tag.Get("protobuf"), n.Tag.Get("protobuf"))
		if sliceOfStructs(v.Type) && sliceOfStructs(n.Type) {
			differences = append(differences, layoutDifferences(v.Type.Elem(), n.Type.Elem())...)
			continue
		}
		differ(where+": type", v.Type, n.Type)
	}
	return differences
}

func sliceOfStructs(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// jsonTag returns the field's tag. The native types embed TypeMeta with an empty
// tag, ours with ",inline", which encoding/json does not know: the same.
func jsonTag(field reflect.StructField) string {
	return strings.TrimSuffix(field.Tag.Get("json"), ",inline")
}

func structOf(object runtime.Object) reflect.Type { return reflect.TypeOf(object).Elem() }
