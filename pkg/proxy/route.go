// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"net/url"
	"path"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/streaming/pkg/httpstream"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// The verbs that views serve.
const (
	verbGet   = "get"
	verbList  = "list"
	verbWatch = "watch"
)

// route is a request that a view can answer.
type route struct {
	// request is the client's.
	request *http.Request
	// refused is the API server's answer to it, if that was asked.
	refused *refusedAnswer
	// absent is what is said of something in a namespace if the view does not have the
	// namespace, and nil where the view's answer is the answer.
	absent   error
	resource *rewrite.Resource
	verb     string
	// path and query are those of the view, as they are sent.
	path, query string
	// fieldSelector is the client's: a list of one name may be allowed where others
	// are not.
	fieldSelector string
	// acceptsGzip says whether the client takes what is compressed.
	acceptsGzip bool
}

// requestInfos finds what requests are about, as the API server does.
var requestInfos apirequest.RequestInfoResolver = &apirequest.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

// withRequestInfo returns a request whose context knows what it is about. It does what the
// filter of that name of k8s.io/apiserver does, without what comes with that package.
func withRequestInfo(req *http.Request) (*http.Request, error) {
	info, err := requestInfos.NewRequestInfo(req)
	if err != nil {
		return req, err
	}
	return req.WithContext(apirequest.WithRequestInfo(req.Context(), info)), nil
}

// requestInfoOf returns what a request is about. Each that is served has it.
func requestInfoOf(req *http.Request) *apirequest.RequestInfo {
	info, ok := apirequest.RequestInfoFrom(req.Context())
	if !ok {
		panic("a request without RequestInfo")
	}
	return info
}

// router finds what a view can answer.
type router struct {
	resources map[schema.GroupVersionResource]*rewrite.Resource
}

func newRouter() *router { return &router{resources: resources()} }

// route returns what a view is to be asked where the API server refuses the request, or
// nil if no view can answer it.
func (r *router) route(req *http.Request) *route {
	// What is to become a stream of another protocol no view answers.
	if req.Method != http.MethodGet || httpstream.IsUpgradeRequest(req) {
		return nil
	}
	info := requestInfoOf(req)
	if !info.IsResourceRequest {
		return nil
	}
	if info.Namespace != "" && (info.Resource != "namespaces" || info.Subresource != "") {
		return r.within(info)
	}
	if info.Subresource != "" {
		return nil
	}
	resource, ok := r.resources[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
	if !ok {
		return nil
	}
	query := req.URL.Query()
	found := &route{
		resource: resource, verb: info.Verb, fieldSelector: query.Get("fieldSelector"), acceptsGzip: acceptsGzip(req.Header),
		path: path.Join("/apis", resource.View.GroupVersion().String(), resource.View.Resource),
	}
	switch info.Verb {
	case verbGet:
		if !canBeName(info.Name) {
			return nil
		}
		found.path += "/" + url.PathEscape(info.Name)
	case verbList:
	case verbWatch:
		// The deprecated prefix names in the path what others say in the query.
		query.Set("watch", "true")
		if len(info.Parts) > 1 {
			query.Set("fieldSelector", fields.OneTermEqualSelector(metav1.ObjectNameField, info.Parts[1]).String())
			found.fieldSelector = query.Get("fieldSelector")
		}
	default:
		return nil
	}
	found.query = query.Encode()
	return found
}

// within returns what a view is to be asked where the API server refuses to tell of an
// object in a namespace: whether there is that namespace. Who makes both if there are none
// has to learn that there are none. A list stays refused: the API server does not say
// NotFound of one either, whatever its namespace. What answers behind a proxy may have a
// Forbidden of its own.
func (r *router) within(info *apirequest.RequestInfo) *route {
	if info.Verb != verbGet || info.Subresource == "proxy" || !canBeName(info.Namespace) || !canBeName(info.Name) {
		return nil
	}
	resource := r.resources[corev1.SchemeGroupVersion.WithResource("namespaces")]
	return &route{
		absent:   apierrors.NewNotFound(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name),
		resource: resource, verb: verbGet,
		path: path.Join("/apis", resource.View.GroupVersion().String(), resource.View.Resource, url.PathEscape(info.Namespace)),
	}
}

// canBeName reports whether an object can have a name. None is called "." or "..", which in
// the path of a view would lead to another one.
func canBeName(name string) bool { return len(content.IsPathSegmentName(name)) == 0 }
