// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnswersAtOnce has an answer be its own until it is closed, though others begin meanwhile.
func TestAnswersAtOnce(t *testing.T) {
	answer := func(name string) io.ReadCloser {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/namespaces", nil)
		req, err := withRequestInfo(req)
		if err != nil {
			t.Fatal(err)
		}
		r := newRouter().route(req)
		r.request = req
		resp := &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
			Body:    io.NopCloser(strings.NewReader(`{"kind":"TenantNamespaceList","items":[{"metadata":{"name":"` + name + `"}}]}`)),
			Request: req.WithContext(context.WithValue(req.Context(), routeKey{}, r)),
		}
		if err := rewriteAnswer(resp); err != nil {
			t.Fatal(err)
		}
		return resp.Body
	}
	names := []string{"a", "b", "c"}
	var answers []io.ReadCloser
	for _, name := range names {
		answers = append(answers, answer(name))
	}
	for i, body := range answers {
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			t.Fatal(err)
		}
		want := `{"kind":"NamespaceList","items":[{"metadata":{"name":"` + names[i] + `"}}]}`
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
