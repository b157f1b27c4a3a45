// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

var (
	namespaces = &Resource{
		Native: Kind{corev1.SchemeGroupVersion.WithKind("Namespace"), "namespaces"},
		View:   Kind{v1alpha1.SchemeGroupVersion.WithKind("TenantNamespace"), "tenantnamespaces"},
	}
	tenants = &Resource{
		Native:     Kind{schemaGVK("capsule.clastix.io", "v1beta2", "Tenant"), "tenants"},
		View:       Kind{v1alpha1.SchemeGroupVersion.WithKind("MyTenant"), "mytenants"},
		TypedItems: true,
	}
)

// newCodecs returns the codecs of the kinds on both sides.
func newCodecs(tb testing.TB) serializer.CodecFactory {
	tb.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			tb.Fatal(err)
		}
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	return serializer.NewCodecFactory(scheme)
}
