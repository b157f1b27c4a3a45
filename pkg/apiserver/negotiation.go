// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// withoutProtobuf answers requests for the resources, whose kinds have no protobuf,
// as the API server answers those for custom resources: in the next format that
// the client takes, or by 406. The serializer of an API group is one for all its
// resources, and would fail at the first object, or, where there is none, not at
// all. Tables and metadata alone have protobuf.
func withoutProtobuf(next http.Handler, resources []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := apirequest.RequestInfoFrom(req.Context())
		accepted := req.Header.Values("Accept")
		if !ok || len(accepted) == 0 || !info.IsResourceRequest || info.APIGroup != v1alpha1.GroupName || !slices.Contains(resources, info.Resource) {
			next.ServeHTTP(w, req)
			return
		}
		rest := slices.DeleteFunc(strings.Split(strings.Join(accepted, ","), ","), isProtobuf)
		if len(rest) > 0 {
			req = req.Clone(req.Context())
			req.Header.Set("Accept", strings.Join(rest, ","))
			next.ServeHTTP(w, req)
			return
		}
		// A Status has protobuf.
		available, _ := negotiation.MediaTypesForSerializer(Codecs)
		err := negotiation.NewNotAcceptableError(slices.DeleteFunc(available, isProtobuf))
		responsewriters.ErrorNegotiated(err, Codecs, v1alpha1.SchemeGroupVersion, w, req)
	})
}

// isProtobuf reports whether a clause of an Accept header asks for objects in protobuf.
func isProtobuf(clause string) bool {
	mediaType, params, err := mime.ParseMediaType(clause)
	return err == nil && mediaType == runtime.ContentTypeProtobuf && params["as"] == ""
}
