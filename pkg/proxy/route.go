// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"net/url"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

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
	request  *http.Request
	resource *rewrite.Resource
	verb     string
	// path and query are those of the view.
	path, query string
	// fieldSelector is the client's: a list of one name may be allowed where others
	// are not.
	fieldSelector string
	// acceptsGzip says whether the client takes what is compressed.
	acceptsGzip bool
}

// router finds what requests are about, as the API server does.
type router struct {
	info      apirequest.RequestInfoResolver
	resources map[schema.GroupVersionResource]*rewrite.Resource
}

func newRouter() *router {
	return &router{
		info:      &apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")},
		resources: resources(),
	}
}

// route returns what a view is to be asked where the API server refuses the request, or
// nil if no view can answer it.
func (r *router) route(req *http.Request) *route {
	if req.Method != http.MethodGet {
		return nil
	}
	info, err := r.info.NewRequestInfo(req)
	if err != nil || !info.IsResourceRequest || info.Subresource != "" || info.Namespace != "" && info.Resource != "namespaces" {
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
