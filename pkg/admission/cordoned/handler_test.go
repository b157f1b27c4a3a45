// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package cordoned

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/requester"
	"tenancy.capsule.io/pkg/controller/owners"
)

const self = "system:serviceaccount:tenancy-system:tenancy-controller"

// namespaceOf returns a namespace of a Tenant, of nobody if the name is empty.
func namespaceOf(name, tenant string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if tenant != "" {
		n.Labels = map[string]string{capsulev1beta2.TenantLabel: tenant}
		n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: tenant, UID: "1"}}
	}
	return n
}

// finder returns a Finder for a cluster, whose cache holds less than it.
func finder(funcs interceptor.Funcs) requester.Finder {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	configuration := &capsulev1beta2.CapsuleConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: capsulev1beta2.CapsuleConfigurationSpec{
			Administrators:       []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.ServiceAccountOwner, Name: "system:serviceaccount:gas-ci:administrator"}},
			IgnoreUserWithGroups: []string{"system:serviceaccounts:exempt"},
		},
	}
	given := []client.Object{configuration, namespaceOf("oil-ci", "oil"), namespaceOf("gas-ci", "gas"), namespaceOf("exempt", "gas"), namespaceOf("argocd", "")}
	cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).WithInterceptorFuncs(funcs).Build()
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(given, namespaceOf("oil-new", "oil"))...).WithInterceptorFuncs(funcs).Build()
	return requester.Finder{Cached: cached, Live: live, Owners: owners.New(cached, "default"), Users: []string{self}}
}

func ask(ctx context.Context, f requester.Finder, info user.Info) admission.Response {
	return NewHandler(f).Handle(ctx, admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: admissionv1.Create, Namespace: "oil-prod", Name: "x",
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		UserInfo: authenticationv1.UserInfo{Username: info.GetName(), Groups: info.GetGroups()},
	}})
}

func TestHandle(t *testing.T) {
	for name, test := range map[string]struct {
		namespace, name string
		allowed         bool
	}{
		"of the same tenant":               {"oil-ci", "deployer", false},
		"of the same tenant, not seen yet": {"oil-new", "deployer", false},
		"of another tenant":                {"gas-ci", "deployer", false},
		"of nobody's namespace":            {"argocd", "controller", true},
		"of no namespace":                  {"gone", "deployer", true},
		"an administrator":                 {"gas-ci", "administrator", true},
		"exempt":                           {"exempt", "deployer", true},
		"the controller":                   {"tenancy-system", "tenancy-controller", true},
	} {
		t.Run(name, func(t *testing.T) {
			response := ask(t.Context(), finder(interceptor.Funcs{}), serviceaccount.UserInfo(test.namespace, test.name, ""))
			if response.Allowed != test.allowed {
				t.Fatalf("want it to be allowed: %v, got %v", test.allowed, response.Result)
			}
			if !test.allowed && (response.Result.Code != http.StatusForbidden || !strings.Contains(response.Result.Message, `namespace "oil-prod" is cordoned`)) {
				t.Errorf("unexpected refusal: %v", response.Result)
			}
		})
	}
}

// TestHandleFailsClosed has it not be known what a namespace is.
func TestHandleFailsClosed(t *testing.T) {
	fail := func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
		if key.Name == "argocd" {
			return errors.New("boom")
		}
		return c.Get(ctx, key, object, options...)
	}
	response := ask(t.Context(), finder(interceptor.Funcs{Get: fail}), serviceaccount.UserInfo("argocd", "controller", ""))
	if response.Allowed || response.Result.Code != http.StatusInternalServerError {
		t.Errorf("want an internal error, got %v", response.Result)
	}
}
