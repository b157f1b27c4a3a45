// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// jsonOf returns an answer of any format as JSON.
func jsonOf(t *testing.T, a answer) []byte {
	t.Helper()
	mediaType, _, err := mime.ParseMediaType(a.ContentType)
	require.NoError(t, err)
	switch mediaType {
	case runtime.ContentTypeYAML:
		data, err := yaml.YAMLToJSON(a.Body)
		require.NoError(t, err)
		return data
	case runtime.ContentTypeProtobuf:
		return asJSON(t, decodeProtobuf(t, a.Body))
	case runtime.ContentTypeCBOR:
		var decoded any
		require.NoError(t, direct.Unmarshal(a.Body, &decoded))
		return asJSON(t, decoded)
	default:
		return a.Body
	}
}

func asJSON(t *testing.T, object any) []byte {
	t.Helper()
	data, err := json.Marshal(object)
	require.NoError(t, err)
	return data
}

func decodeProtobuf(t *testing.T, data []byte) runtime.Object {
	t.Helper()
	types := runtime.NewScheme()
	require.NoError(t, scheme.AddToScheme(types))
	require.NoError(t, v1alpha1.AddToScheme(types))
	require.NoError(t, metav1.AddMetaToScheme(types))
	object, _, err := serializer.NewCodecFactory(types).UniversalDeserializer().Decode(data, nil, nil)
	require.NoError(t, err)
	return object
}

// asNative reads an answer and makes of it what the native resource would answer:
// kinds, and the column Tenant, apart, and managedFields left out on both sides.
func asNative(t *testing.T, a answer) map[string]any {
	t.Helper()
	require.Equal(t, http.StatusOK, a.Code, "%s", a.Body)
	var result map[string]any
	require.NoError(t, utiljson.Unmarshal(jsonOf(t, a), &result)) // keeps integers
	normalize(result)
	return result
}

// dropOwn leaves out what is each server's own, and managedFields.
func dropOwn(content any) {
	switch c := content.(type) {
	case map[string]any:
		delete(c, "managedFields")
		delete(c, "remainingItemCount")
		_, isList := c["items"]
		_, isTable := c["rows"]
		if meta, ok := c["metadata"].(map[string]any); ok && (isList || isTable) {
			delete(meta, "resourceVersion")
			delete(meta, "continue")
		}
		for _, value := range c {
			dropOwn(value)
		}
	case []any:
		for _, value := range c {
			dropOwn(value)
		}
	}
}

// normalize is dropOwn, and puts native names where those of views are.
func normalize(content any) {
	dropOwn(content)
	rename(content)
}

func rename(content any) {
	switch c := content.(type) {
	case map[string]any:
		if items, ok := c["items"].([]any); ok {
			dropItemKinds(items)
		}
		switch {
		case c["apiVersion"] == v1alpha1.SchemeGroupVersion.String():
			nameNatively(c)
		case c["kind"] == "Table":
			dropTenantColumn(c)
		}
		for _, value := range c {
			rename(value)
		}
	case []any:
		for _, value := range c {
			rename(value)
		}
	}
}

// nameNatively puts the native kind where the view's is.
func nameNatively(object map[string]any) {
	for _, k := range kinds() {
		for _, suffix := range []string{"", "List"} {
			if object["kind"] == k.viewKind+suffix {
				object["kind"], object["apiVersion"] = k.nativeKind+suffix, k.native.GroupVersion().String()
				return
			}
		}
	}
}

// dropItemKinds takes the kind, which a list of custom resources repeats in every
// item, from those that say what their list does.
func dropItemKinds(items []any) {
	for _, item := range items {
		if item, ok := item.(map[string]any); ok && item["kind"] != "PartialObjectMetadata" {
			delete(item, "kind")
			delete(item, "apiVersion")
		}
	}
}

func dropTenantColumn(table map[string]any) {
	columns, _ := table["columnDefinitions"].([]any)
	i := slices.IndexFunc(columns, func(c any) bool { return c.(map[string]any)["name"] == "Tenant" })
	if i < 0 {
		return
	}
	table["columnDefinitions"] = slices.Delete(columns, i, i+1)
	rows, _ := table["rows"].([]any)
	for _, row := range rows {
		row := row.(map[string]any)
		row["cells"] = slices.Delete(row["cells"].([]any), i, i+1)
	}
}
