// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// post returns the answer to a POST to a path of reviews, by a version of HTTP.
func (f *fixture) post(tb testing.TB, version int, path, accept string, body io.Reader) (answer, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, f.server.URL+path, body)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", runtime.ContentTypeJSON)
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer alice")
	resp, err := f.client(tb, version).Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != version {
		tb.Fatalf("got %q, %v, by %s", data, err, resp.Proto)
	}
	return answer{resp.StatusCode, resp.Header}, string(data)
}

// TestLongReview has what is longer than a review be the API server's to read.
func TestLongReview(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	})
	for name, test := range map[string]struct {
		length int
		// hidden says that the length is not told before.
		hidden     bool
		wantLength int64
	}{
		"as long as one may be":             {maxQuestion, false, maxQuestion},
		"longer":                            {maxQuestion + 1, false, maxQuestion + 1},
		"much longer":                       {1 << 20, false, 1 << 20},
		"much longer, of a length not told": {1 << 20, true, -1},
	} {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprintf("%s, HTTP %d", name, version), func(t *testing.T) {
				given := strings.Repeat("0123456789abcdef", test.length/16+1)[:test.length]
				var body io.Reader = strings.NewReader(given)
				if test.hidden {
					body = struct{ io.Reader }{body}
				}
				resp, got := f.post(t, version, accessReviews, "*/*", body)
				if resp.StatusCode != http.StatusCreated || got != given {
					t.Errorf("got %d, %d bytes instead of %d", resp.StatusCode, len(got), len(given))
				}
				for _, req := range f.upstream.asked() {
					if req.ContentLength != test.wantLength {
						t.Errorf("want length %d, got %d", test.wantLength, req.ContentLength)
					}
				}
			})
		}
	}
}

// TestStalledReview has who begins to send a review, and sends no more, be told so.
func TestStalledReview(t *testing.T) {
	f := newFixture(t, reviewer(t))
	f.proxy.questionTimeout = time.Millisecond
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprintf("%s, HTTP %d", mediaType, version), func(t *testing.T) {
				body, sender := io.Pipe()
				defer sender.Close() //nolint:errcheck // never fails
				go func() { _, _ = sender.Write([]byte("{")) }()
				resp, got := f.post(t, version, accessReviews, mediaType, body)
				status, _, err := decodeStatus([]byte(got), mediaType)
				if err != nil {
					t.Fatalf("%q: %v", got, err)
				}
				want := &metav1.Status{
					Status: metav1.StatusFailure, Code: http.StatusBadRequest, Reason: metav1.StatusReasonBadRequest,
					Message: "the review cannot be read: it takes longer than 1ms",
				}
				status.TypeMeta = metav1.TypeMeta{}
				if diff := cmp.Diff(want, status); diff != "" || resp.StatusCode != http.StatusBadRequest {
					t.Errorf("got %d (-want +got):\n%s", resp.StatusCode, diff)
				}
				if asked := paths(f.upstream.asked()); len(asked) > 0 {
					t.Errorf("asked %v", asked)
				}
			})
		}
	}
}

// deadlines is a ResponseWriter that notes whether there is a deadline for what is read.
type deadlines struct {
	*httptest.ResponseRecorder
	set []bool
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, !at.IsZero())
	return nil
}

// TestDeadlineOfReview holds that the time that a review may take to be sent is not that of
// its answer, or of the next request of its connection, and that a ResponseWriter need not
// know of it.
func TestDeadlineOfReview(t *testing.T) {
	f := newFixture(t, reviewer(t))
	const given = `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1"}`
	review := func(body string) *http.Request {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+accessReviews, strings.NewReader(body))
		req.Header.Set("Content-Type", runtime.ContentTypeJSON)
		req.Header.Set("Authorization", "Bearer alice")
		return req
	}
	for name, test := range map[string]struct {
		body string
		want []bool
	}{
		"short": {given, []bool{true, false}},
		"long":  {given + strings.Repeat(" ", maxQuestion), nil},
	} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		f.proxy.ServeHTTP(w, review(test.body))
		if diff := cmp.Diff(test.want, w.set); diff != "" || w.Code != http.StatusCreated {
			t.Errorf("%s: got %d, deadlines (-want +got):\n%s", name, w.Code, diff)
		}
	}
	w := httptest.NewRecorder()
	f.proxy.ServeHTTP(w, review(given))
	if w.Code != http.StatusCreated {
		t.Errorf("without deadlines: got %d, %s", w.Code, w.Body)
	}
}

// TestReviewWithoutViews has reviews say what could not be asked, and what the API server
// allows stay allowed.
func TestReviewWithoutViews(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		if view, ok := strings.CutPrefix(req.URL.Path, viewPrefix); ok && view != "tenantnodes" {
			http.Error(w, "service unavailable", http.StatusServiceUnavailable)
			return
		}
		reviewer(t, "tenantnodes")(w, req)
	})
	t.Run("rules", func(t *testing.T) {
		code, object := f.ask(t, rulesReviews, runtime.ContentTypeJSON, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "oil"}})
		got, ok := object.(*authorizationv1.SelfSubjectRulesReview)
		if !ok || code != http.StatusCreated {
			t.Fatalf("got %d, %v", code, object)
		}
		want := authorizationv1.SubjectRulesReviewStatus{
			ResourceRules: []authorizationv1.ResourceRule{
				{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"pods"}},
				{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"nodes"}},
			},
			Incomplete: true,
			EvaluationError: "these views do not answer: mytenants, tenantingressclasses, tenantnamespaces, tenantpersistentvolumes, " +
				"tenantpriorityclasses, tenantruntimeclasses, tenantstorageclasses",
		}
		if diff := cmp.Diff(want, got.Status); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for name, test := range map[string]struct {
		given    authorizationv1.ResourceAttributes
		wantCode int
		want     runtime.Object
	}{
		"allowed": {
			authorizationv1.ResourceAttributes{Verb: "list", Resource: "persistentvolumes", Namespace: "oil"}, http.StatusCreated,
			&authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "in oil"}},
		},
		"allowed by a view that answers": {
			authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}, http.StatusCreated,
			&authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}},
		},
		"not the API server's to allow": {
			authorizationv1.ResourceAttributes{Verb: "list", Resource: "persistentvolumes"}, http.StatusServiceUnavailable,
			&metav1.Status{Message: "the view tenantpersistentvolumes does not answer: try again later"},
		},
		"of what has no view": {
			authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"}, http.StatusCreated,
			&authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Reason: "no"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, got := f.ask(t, accessReviews, runtime.ContentTypeJSON, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &test.given},
			})
			switch answer := got.(type) {
			case *authorizationv1.SelfSubjectAccessReview:
				got = &authorizationv1.SelfSubjectAccessReview{Status: answer.Status}
			case *metav1.Status:
				got = &metav1.Status{Message: answer.Message}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || code != test.wantCode {
				t.Errorf("want %d, got %d (-want +got):\n%s", test.wantCode, code, diff)
			}
		})
	}
}
