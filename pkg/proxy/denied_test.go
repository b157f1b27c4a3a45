// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// TestRefusalIsOfFixedSize holds that what is remembered of a refusal has no part whose
// length is the client's to choose, and tells apart what is refused apart.
func TestRefusalIsOfFixedSize(t *testing.T) {
	if kind := reflect.TypeFor[refusal](); kind.Kind() != reflect.Array || kind.Size() != sha256.Size {
		t.Fatalf("a refusal is %v, of %d bytes", kind.Kind(), kind.Size())
	}
	list := func(path, selector string, header ...string) *http.Request {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?fieldSelector="+url.QueryEscape(selector), nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		return req
	}
	asUser := func(req *http.Request) *http.Request {
		return req.WithContext(apirequest.WithUser(req.Context(), &user.DefaultInfo{Name: "alice"}))
	}
	const nodes, classes, watched = "/api/v1/nodes", "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/watch/nodes"
	found := map[refusal]string{}
	for name, req := range map[string]*http.Request{
		"list":                    list(nodes, ""),
		"list of one":             list(nodes, "metadata.name=a"),
		"list of another one":     list(nodes, "metadata.name=b"),
		"list of a long selector": list(nodes, "metadata.name="+strings.Repeat("a", 1<<20)),
		"watch":                   list(watched, ""),
		"another resource":        list(classes, ""),
		"somebody":                list(nodes, "", "Authorization", "Bearer alice"),
		"as somebody":             list(nodes, "", "Impersonate-User", "alice"),
		"of a certificate":        asUser(list(nodes, "")),
	} {
		info, err := requestInfos.NewRequestInfo(req)
		if err != nil {
			t.Fatal(err)
		}
		req = req.WithContext(apirequest.WithRequestInfo(req.Context(), info))
		route := newRouter().route(req)
		if route == nil {
			t.Fatalf("%s: no route", name)
		}
		refusal := refusalOf(req, route)
		if other, ok := found[refusal]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		if refusal != refusalOf(req, route) {
			t.Errorf("%s is not the same each time", name)
		}
		found[refusal] = name
	}
}
