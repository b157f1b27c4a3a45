// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ask posts an object and returns the answer.
func (f *fixture) ask(tb testing.TB, path, mediaType string, object runtime.Object) (int, runtime.Object) {
	tb.Helper()
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	body, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, authorizationv1.SchemeGroupVersion), object)
	if err != nil {
		tb.Fatal(err)
	}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, f.server.URL+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	req.Header.Set("Authorization", "Bearer alice")
	resp, err := f.server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	answer, _, err := decode(data, mediaType)
	if err != nil {
		tb.Fatalf("%q: %v", data, err)
	}
	return resp.StatusCode, answer
}

// reviewer answers reviews with no, but for rights in a namespace, and views with what
// they hold.
func reviewer(tb testing.TB, holding ...string) http.HandlerFunc {
	tb.Helper()
	return func(w http.ResponseWriter, req *http.Request) {
		if view, ok := strings.CutPrefix(req.URL.Path, viewPrefix); ok {
			if req.Header.Get("Authorization") != "Bearer alice" {
				tb.Errorf("the view is asked with %v", req.Header)
			}
			items := ""
			if slices.Contains(holding, view) {
				items = `{"metadata":{"name":"a"}}`
			}
			respond(w, http.StatusOK, fmt.Sprintf(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[%s]}`, items))
			return
		}
		data, err := io.ReadAll(req.Body)
		if err != nil {
			tb.Error(err)
		}
		object, encode, err := decode(data, req.Header.Get("Content-Type"))
		if err != nil {
			tb.Error(err)
		}
		switch review := object.(type) {
		case *authorizationv1.SelfSubjectAccessReview:
			review.Status = authorizationv1.SubjectAccessReviewStatus{Reason: "no"}
			if a := review.Spec.ResourceAttributes; a != nil && a.Namespace == "oil" {
				review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "in oil"}
			}
		case *authorizationv1.SelfSubjectRulesReview:
			review.Status.ResourceRules = []authorizationv1.ResourceRule{{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"pods"}}}
		}
		if data, err = encode(object); err != nil {
			tb.Error(err)
		}
		w.Header().Set("Content-Type", req.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(data)
	}
}

func TestAccessReview(t *testing.T) {
	for name, test := range map[string]struct {
		holding []string
		given   authorizationv1.ResourceAttributes
		want    authorizationv1.SubjectAccessReviewStatus
	}{
		"list of what there is some of":      {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		"get, of no name":                    {[]string{"tenantstorageclasses"}, authorizationv1.ResourceAttributes{Verb: "get", Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		"watch, of any version":              {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "watch", Version: "*", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		"list of what there is nothing of":   {nil, authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"namespaces before the first":        {[]string{"mytenants"}, authorizationv1.ResourceAttributes{Verb: "list", Resource: "namespaces"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		"one":                                {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Name: "a"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"another version":                    {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "list", Version: "v2", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"another group":                      {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "list", Group: "metrics.k8s.io", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"a write":                            {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "delete", Resource: "nodes"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"a subresource":                      {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "proxy"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"all":                                {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "list", Group: "*", Resource: "*"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"a namespace is asked for in itself": {nil, authorizationv1.ResourceAttributes{Verb: "delete", Resource: "namespaces", Name: "oil"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "in oil"}},
		"another namespace":                  {[]string{"tenantnamespaces"}, authorizationv1.ResourceAttributes{Verb: "get", Resource: "namespaces", Name: "gas"}, authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		"the namespace of a context":         {[]string{"tenantnodes"}, authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes", Namespace: "default"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		"a namespace, from another one":      {nil, authorizationv1.ResourceAttributes{Verb: "get", Resource: "namespaces", Name: "oil", Namespace: "default"}, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "in oil"}},
	} {
		for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
			t.Run(name+" "+mediaType, func(t *testing.T) {
				f := newFixture(t, reviewer(t, test.holding...))
				code, answer := f.ask(t, accessReviews, mediaType, &authorizationv1.SelfSubjectAccessReview{
					Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &test.given},
				})
				review, ok := answer.(*authorizationv1.SelfSubjectAccessReview)
				if !ok || code != http.StatusCreated {
					t.Fatalf("got %d, %v", code, answer)
				}
				if diff := cmp.Diff(test.want, review.Status); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRulesReview(t *testing.T) {
	f := newFixture(t, reviewer(t, "tenantnodes", "tenantstorageclasses"))
	_, answer := f.ask(t, rulesReviews, runtime.ContentTypeJSON, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "oil"}})
	review, ok := answer.(*authorizationv1.SelfSubjectRulesReview)
	if !ok {
		t.Fatalf("got %v", answer)
	}
	want := []authorizationv1.ResourceRule{
		{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"nodes"}},
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"storage.k8s.io"}, Resources: []string{"storageclasses"}},
	}
	if diff := cmp.Diff(want, review.Status.ResourceRules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReviewOfSomethingElse has what is no review be the API server's to refuse.
func TestReviewOfSomethingElse(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		respond(w, http.StatusBadRequest, string(data))
	})
	for _, given := range []string{"", "{", `{"kind":"Status","apiVersion":"v1","metadata":{}}`, `{"kind":"Pod","apiVersion":"v1"}`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+accessReviews, strings.NewReader(given))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := f.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if string(got) != given || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q became %d, %q", given, resp.StatusCode, got)
		}
	}
}
