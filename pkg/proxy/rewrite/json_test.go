// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func schemaGVK(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

func TestJSON(t *testing.T) {
	for name, test := range map[string]struct {
		resource    *Resource
		given, want string
	}{
		"object": {
			namespaces,
			`{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"a","labels":{"kind":"TenantNamespace"}},"spec":{"kind":"TenantNamespace"},"later":18446744073709551616}`,
			`{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a","labels":{"kind":"TenantNamespace"}},"spec":{"kind":"TenantNamespace"},"later":18446744073709551616}`,
		},
		"list": {
			namespaces,
			`{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b\u003c"}}]}`,
			`{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b\u003c"}}]}`,
		},
		"list of nothing": {
			namespaces,
			`{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{},"items":[]}`,
			`{"kind":"NamespaceList","apiVersion":"v1","metadata":{},"items":[]}`,
		},
		"list of null": {
			namespaces,
			`{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{},"items":null}`,
			`{"kind":"NamespaceList","apiVersion":"v1","metadata":{},"items":null}`,
		},
		"list of custom resources": {
			tenants,
			`{"kind":"MyTenantList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{},"items":[{"metadata":{"name":"oil"},"spec":{"owners":[{"kind":"User"}]}},{"kind":"MyTenant","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"gas"}}]}`,
			`{"kind":"TenantList","apiVersion":"capsule.clastix.io/v1beta2","metadata":{},"items":[{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","metadata":{"name":"oil"},"spec":{"owners":[{"kind":"User"}]}},{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","metadata":{"name":"gas"}}]}`,
		},
		"metadata only": {
			namespaces,
			`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}]}`,
			`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}]}`,
		},
		"metadata only of custom resources": {
			tenants,
			`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}]}`,
			`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}]}`,
		},
		"table": {
			namespaces,
			`{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"columnDefinitions":[{"name":"Name"},{"name":"Tenant"},{"name":"Age"}],"rows":[{"cells":["a","oil","1d"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}},{"cells":["b",["x"],"1d"],"object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1"}},{"cells":["c","","1d"],"object":null}]}`,
			`{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"columnDefinitions":[{"name":"Name"},{"name":"Age"}],"rows":[{"cells":["a","1d"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}},{"cells":["b","1d"],"object":{"kind":"Namespace","apiVersion":"v1"}},{"cells":["c","1d"],"object":null}]}`,
		},
		"table with the column first": {
			namespaces,
			`{"kind":"Table","columnDefinitions":[{"name":"Tenant"},{"name":"Name"},{"name":"Age"}],"rows":[{"cells":["oil","a","1d"]},{"cells":["oil","b"]}]}`,
			`{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Age"}],"rows":[{"cells":["a","1d"]},{"cells":["b"]}]}`,
		},
		"table with the column last": {
			namespaces,
			`{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Tenant"}],"rows":[{"cells":["a","oil"],"object":null},{"cells":[]}]}`,
			`{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["a"],"object":null},{"cells":[]}]}`,
		},
		"table without the column": {
			tenants,
			`{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[{"name":"Name"},{"name":"State"}],"rows":[{"cells":["oil","Active"],"object":null}]}`,
			`{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[{"name":"Name"},{"name":"State"}],"rows":[{"cells":["oil","Active"],"object":null}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			// People who ask with curl are answered with line breaks.
			for _, layout := range []func(string) string{func(text string) string { return text + "\n" }, indented} {
				var got bytes.Buffer
				if err := JSON(test.resource, &got, iotest.OneByteReader(strings.NewReader(layout(test.given)))); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(layout(test.want), got.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// indented returns JSON as the API server writes it for people.
func indented(text string) string {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(text), "", "  "); err != nil {
		panic(err)
	}
	return pretty.String()
}

func TestJSONEvents(t *testing.T) {
	given := []string{
		`{"type":"ADDED","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"a"}}}`,
		`{"type":"BOOKMARK","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"7"}}}`,
		`{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[{"name":"Tenant"},{"name":"Name"}],"rows":[{"cells":["oil","a"]}]}}`,
		`{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":null,"rows":[{"cells":["oil","a"]}]}}`,
		`{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[],"rows":[{"cells":["oil","a"]}]}}`,
		`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"tenantnamespaces.tenancy.capsule.io is gone","reason":"Expired","code":410}}`,
	}
	want := []string{
		`{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a"}}}`,
		`{"type":"BOOKMARK","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"resourceVersion":"7"}}}`,
		`{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["a"]}]}}`,
		`{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":null,"rows":[{"cells":["a"]}]}}`,
		`{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[],"rows":[{"cells":["a"]}]}}`,
		`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces is gone","reason":"Expired","code":410}}`,
	}
	var got []string
	frames, err := framesOf(JSONEvents(namespaces, strings.NewReader(strings.Join(given, "\n")+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		got = append(got, strings.TrimSuffix(string(frame), "\n"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestJSONRefused has what ends too early, or is something else, be an error, and the
// output no complete JSON.
func TestJSONRefused(t *testing.T) {
	for _, given := range []string{
		"", "{", `{"kind":"TenantNamespace"`, `{"kind":"TenantNamespaceList","items":[{"metadata":{}},`, `{"kind":"TenantNamespaceList","items":[{}]`,
		`{} {}`, `{]`, `{"items":[]}`, `{"kind":"Table","rows":[{"cells":["a"]}]}`, `{"kind":"Table","columnDefinitions":["Name"],"rows":[]}`, "k8s\x00",
	} {
		var got bytes.Buffer
		if err := JSON(namespaces, &got, strings.NewReader(given)); err == nil {
			t.Errorf("%q: want an error, got %q", given, got.String())
		} else if json.Valid(got.Bytes()) && given != `{} {}` {
			t.Errorf("%q: %v, but what was written is complete: %q", given, err, got.String())
		}
	}
	for _, given := range []string{`{"object":{},"type":"ADDED"}`, `{"type":"ERROR","object":7}`, `{"type":"ADDED","object":{"kind":"TenantName`, `{"type":7}`} {
		if got, err := io.ReadAll(JSONEvents(namespaces, strings.NewReader(given))); err == nil || len(got) > 0 {
			t.Errorf("%q: want an error and nothing else, got %q, %v", given, got, err)
		}
	}
}

// FuzzJSON compares with the same done to decoded JSON.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","items":[{"metadata":{"name":"a"}},null,7]}`,
		`{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Tenant"}],"rows":[{"cells":["a",1e400,{}],"object":{"kind":"TenantNamespace"}},[]]}`,
		`{"kind":"Table","columnDefinitions":[ {"name":"Tenant"} , {"name":"Tenant"}],"rows":[{"cells":[ "a" , "b" ]},{"cells":["a"]}]}`,
		`{"kind":"TenantNamespace","apiVersion":7,"items":{}}`, `[]`, `"\ud800"`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, given []byte, typed bool) {
		resource := namespaces
		if typed {
			resource = tenants
		}
		var got bytes.Buffer
		err := JSON(resource, &got, bytes.NewReader(given))
		if err != nil {
			return
		}
		var was, is any
		decode := func(data []byte, into *any) error {
			d := json.NewDecoder(bytes.NewReader(data))
			d.UseNumber()
			return d.Decode(into)
		}
		if err := decode(given, &was); err != nil {
			// encoding/json refuses less or more in some places, as depth.
			return
		}
		if err := decode(got.Bytes(), &is); err != nil {
			t.Fatalf("%q became %q: %v", given, got.Bytes(), err)
		}
		if hasDuplicates(given) {
			return
		}
		if diff := cmp.Diff(rewritten(resource, was), is); diff != "" {
			t.Errorf("%q (-want +got):\n%s", given, diff)
		}
	})
}

// FuzzJSONEvents has what comes out have the same events as what goes in, with the objects
// rewritten. Tables are compared where they bring their columns, errors not at all.
func FuzzJSONEvents(f *testing.F) {
	const object = `{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"a"}}`
	f.Add([]byte(`{"type":"ADDED","object":` + object + `}` + "\n" + `{"type":"BOOKMARK","object":` + object + `}`))
	f.Add([]byte(`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","details":{"kind":"tenantnamespaces","group":"tenancy.capsule.io"}}}`))
	f.Add([]byte(`{"type":"ADDED","object":{"kind":"Table","columnDefinitions":[{"name":"Tenant"}],"rows":[{"cells":["a"],"object":` + object + `}]}}` +
		`{"type":"DELETED","object":{"kind":"Table","rows":[{"cells":["a"]}]}}`))
	f.Fuzz(func(t *testing.T, given []byte) {
		frames, err := framesOf(JSONEvents(namespaces, bytes.NewReader(given)))
		if err != nil {
			return
		}
		got := bytes.Join(frames, nil)
		was, err := events(given)
		if err != nil || hasDuplicates(given) {
			// encoding/json refuses more in some places, as depth.
			return
		}
		is, err := events(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", given, got, err)
		}
		if len(was) != len(frames) || len(is) != len(frames) {
			t.Fatalf("%q: %d events became %d, in %d frames", given, len(was), len(is), len(frames))
		}
		for i := range was {
			object, _ := was[i]["object"].(map[string]any)
			if _, rows := object["rows"]; was[i]["type"] == "ERROR" || rows && object["columnDefinitions"] == nil {
				continue
			}
			if object != nil {
				was[i]["object"] = rewritten(namespaces, object)
			}
			if diff := cmp.Diff(was[i], is[i]); diff != "" {
				t.Errorf("%q (-want +got):\n%s", given, diff)
			}
		}
	})
}

// events decodes the events of a watch.
func events(data []byte) (all []map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		var event map[string]any
		switch err := d.Decode(&event); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, event)
	}
}
