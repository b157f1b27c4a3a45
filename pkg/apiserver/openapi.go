// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/version"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/generated/openapi"
)

const (
	openAPITitle = "Capsule Tenancy"
	gvkExtension = "x-kubernetes-group-version-kind"
)

// applyOpenAPI sets both OpenAPI configs; the generic server refuses to install a
// group without them.
func applyOpenAPI(c *genericapiserver.Config) {
	namer := openapinamer.NewDefinitionNamer(Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig.GetDefinitionName = ownKindsOnly(c.OpenAPIConfig.GetDefinitionName)
	c.OpenAPIV3Config.GetDefinitionName = ownKindsOnly(c.OpenAPIV3Config.GetDefinitionName)
	release, _, _ := strings.Cut(version.Get().String(), "-")
	c.OpenAPIConfig.Info.Title, c.OpenAPIConfig.Info.Version = openAPITitle, release
	c.OpenAPIV3Config.Info.Title, c.OpenAPIV3Config.Info.Version = openAPITitle, release
}

// ownKindsOnly leaves the GroupVersionKind on the definitions of our own group
// alone. The API server merges the documents of all its aggregated servers; a
// definition such as metav1.Status that differs by a word between releases is
// kept twice, and a GroupVersionKind that stands twice breaks clients that build
// types from the document. WatchEvent is such a definition, and one of every group.
func ownKindsOnly(name func(string) (string, spec.Extensions)) func(string) (string, spec.Extensions) {
	return func(definition string) (string, spec.Extensions) {
		friendly, extensions := name(definition)
		kinds, ok := extensions[gvkExtension].([]any)
		if !ok {
			return friendly, extensions
		}
		var own []any
		for _, kind := range kinds {
			if k, ok := kind.(map[string]any); ok && k["group"] == v1alpha1.GroupName && k["kind"] != metav1.WatchEventKind {
				own = append(own, kind)
			}
		}
		if len(own) == 0 {
			delete(extensions, gvkExtension)
		} else {
			extensions[gvkExtension] = own
		}
		return friendly, extensions
	}
}
