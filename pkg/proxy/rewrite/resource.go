// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// listSuffix makes the kind of a list of a kind.
const listSuffix = "List"

// Kind is what a resource is called.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the plural, as in paths.
	Resource string
}

// Resource is a native resource and its view.
type Resource struct {
	Native, View Kind
	// TypedItems says that each item of a native list names its kind, as those of
	// custom resources do.
	TypedItems bool
}

// kind returns what a kind of the view is natively.
func (r *Resource) kind(kind string) string {
	switch kind {
	case r.View.Kind:
		return r.Native.Kind
	case r.View.Kind + listSuffix:
		return r.Native.Kind + listSuffix
	default:
		return kind
	}
}

// apiVersion returns what an apiVersion of the view is natively.
func (r *Resource) apiVersion(apiVersion string) string {
	if apiVersion == r.View.GroupVersion().String() {
		return r.Native.GroupVersion().String()
	}
	return apiVersion
}

// Status makes an error speak of the native resource.
func (r *Resource) Status(status *metav1.Status) {
	view, native := r.View.groupResource(), r.Native.groupResource()
	status.Message = strings.ReplaceAll(status.Message, view.String(), native.String())
	details := status.Details
	if details == nil || details.Group != view.Group {
		return
	}
	// Some errors have a resource for their kind, as NotFound, and some a kind.
	switch details.Kind {
	case view.Resource:
		details.Kind = native.Resource
	case r.View.Kind:
		details.Kind = r.Native.Kind
	default:
		return
	}
	details.Group = native.Group
}

func (k *Kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}
