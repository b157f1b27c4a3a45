// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/owners"
)

// TestRegister asks what is served, as far as it needs no cluster.
func TestRegister(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, capsulev1beta1.AddToScheme, capsulev1beta2.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	server := webhook.NewServer(webhook.Options{})
	mgr, err := ctrl.NewManager(&rest.Config{Host: "https://127.0.0.1:1"}, ctrl.Options{
		Scheme:        scheme,
		WebhookServer: server,
		Metrics:       metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Register(mgr, Options{Owners: owners.New(mgr.GetClient(), capsulev1beta2.DefaultConfigurationName)}); err != nil {
		t.Fatal(err)
	}

	post := func(t *testing.T, path string, question, answer any) {
		t.Helper()
		body, err := json.Marshal(question)
		if err != nil {
			t.Fatal(err)
		}
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		server.WebhookMux().ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, recorder.Code, recorder.Body)
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
	}
	tenant := func(version, spec string) runtime.RawExtension {
		return runtime.RawExtension{Raw: []byte(`{"apiVersion":"capsule.clastix.io/` + version +
			`","kind":"Tenant","metadata":{"name":"oil"},"spec":` + spec + `}`)}
	}
	review := func(kind string, object runtime.RawExtension) *admissionv1.AdmissionReview {
		return &admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID: "question", Operation: admissionv1.Create, Object: object,
				Kind: metav1.GroupVersionKind(capsulev1beta2.SchemeGroupVersion.WithKind(kind)),
			},
		}
	}
	tests := map[string]struct {
		path, kind string
		object     runtime.RawExtension
		want       int32
	}{
		"a Tenant, mutating":       {MutateTenantPath, "Tenant", tenant("v1beta2", `{}`), http.StatusOK},
		"a Tenant, validating":     {ValidateTenantPath, "Tenant", tenant("v1beta2", `{"storageClasses":{"allowedRegex":"("}}`), http.StatusUnprocessableEntity},
		"a configuration":          {ValidateConfigPath, "CapsuleConfiguration", tenant("v1beta2", `{"protectedNamespaceRegex":"("}`), http.StatusUnprocessableEntity},
		"no service account":       {ValidateAccountPath, "Tenant", tenant("v1beta2", `{}`), http.StatusBadRequest},
		"no quota":                 {MutateQuotaPath, "Tenant", tenant("v1beta2", `{}`), http.StatusBadRequest},
		"no namespace, mutating":   {MutateNamespacePath, "Tenant", tenant("v1beta2", `{}`), http.StatusBadRequest},
		"no namespace, validating": {ValidateNamespacePath, "Tenant", tenant("v1beta2", `{}`), http.StatusBadRequest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got admissionv1.AdmissionReview
			post(t, test.path, review(test.kind, test.object), &got)
			if got.Response.UID != "question" || got.Response.Result.Code != test.want {
				t.Errorf("got %v for %q, want %d", got.Response.Result, got.Response.UID, test.want)
			}
		})
	}
	t.Run("conversion", func(t *testing.T) {
		var got apiextensionsv1.ConversionReview
		post(t, ConvertPath, &apiextensionsv1.ConversionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "ConversionReview"},
			Request: &apiextensionsv1.ConversionRequest{
				UID: "question", DesiredAPIVersion: capsulev1beta2.SchemeGroupVersion.String(),
				Objects: []runtime.RawExtension{tenant("v1beta1", `{"owners":[{"kind":"User","name":"alice"}]}`)},
			},
		}, &got)
		if got.Response.Result.Status != metav1.StatusSuccess {
			t.Fatalf("got %v", got.Response.Result)
		}
		var converted capsulev1beta2.Tenant
		if err := json.Unmarshal(got.Response.ConvertedObjects[0].Raw, &converted); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("alice", converted.Spec.Owners[0].Name); diff != "" {
			t.Errorf("unexpected owner (-want +got):\n%s", diff)
		}
	})
}
