// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestWithoutProtobuf(t *testing.T) {
	t.Parallel()
	const protobuf, partial = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	mine := &apirequest.RequestInfo{IsResourceRequest: true, APIGroup: "tenancy.capsule.io", Resource: "mytenants"}
	for name, test := range map[string]struct {
		info   *apirequest.RequestInfo
		accept []string
		want   []string
		code   int
	}{
		"nothing":                   {info: mine},
		"JSON":                      {info: mine, accept: []string{"application/json"}, want: []string{"application/json"}},
		"protobuf":                  {info: mine, accept: []string{protobuf}, code: http.StatusNotAcceptable},
		"a stream of protobuf":      {info: mine, accept: []string{protobuf + ";stream=watch"}, code: http.StatusNotAcceptable},
		"protobuf, or JSON":         {info: mine, accept: []string{protobuf + ",application/json"}, want: []string{"application/json"}},
		"protobuf, or anything":     {info: mine, accept: []string{protobuf + ", */*;q=0.1"}, want: []string{" */*;q=0.1"}},
		"in two headers":            {info: mine, accept: []string{protobuf, "application/yaml"}, want: []string{"application/yaml"}},
		"metadata":                  {info: mine, accept: []string{partial + "," + protobuf}, want: []string{partial}},
		"what cannot be understood": {info: mine, accept: []string{"a;;;b=c=d"}, want: []string{"a;;;b=c=d"}},
		"another resource":          {info: &apirequest.RequestInfo{IsResourceRequest: true, APIGroup: "tenancy.capsule.io", Resource: "tenantnodes"}, accept: []string{protobuf}, want: []string{protobuf}},
		"another group":             {info: &apirequest.RequestInfo{IsResourceRequest: true, Resource: "mytenants"}, accept: []string{protobuf}, want: []string{protobuf}},
		"no resource":               {info: &apirequest.RequestInfo{APIGroup: "tenancy.capsule.io", Resource: "mytenants"}, accept: []string{protobuf}, want: []string{protobuf}},
		"a request without info":    {accept: []string{protobuf}, want: []string{protobuf}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := false
			handler := withoutProtobuf(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				asked = true
				assert.Equal(t, test.want, req.Header.Values("Accept"))
			}), []string{"mytenants"})
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			req.Header["Accept"] = test.accept
			if test.info != nil {
				req = req.WithContext(apirequest.WithRequestInfo(req.Context(), test.info))
			}
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, req)
			assert.Equal(t, test.code == 0, asked)
			if test.code != 0 {
				assert.Equal(t, test.code, recorder.Code)
				assert.Equal(t, protobuf, recorder.Header().Get("Content-Type"))
				assert.Contains(t, recorder.Body.String(), "accepted: application/json, application/yaml")
			}
			assert.Equal(t, test.accept, req.Header.Values("Accept"), "the request is the caller's")
		})
	}
}
