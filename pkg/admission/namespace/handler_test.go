// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/answer"
	"tenancy.capsule.io/pkg/controller/owners"
)

func TestHandlerAssigns(t *testing.T) {
	config, log := testConfig(testClient(t, limited(testTenant("oil", "alice"), 1)))
	given := testNamespace("x", foreignOwner, ownerWith("gas", "?", "v1beta1"))

	// A dry run first, which leaves nothing behind.
	for _, dryRun := range []bool{true, false} {
		request := createRequest(t, "alice", given)
		request.DryRun = new(dryRun)
		response := NewMutating(config).Handle(t.Context(), request)
		if !response.Allowed {
			t.Fatalf("refused: %v", response.Result)
		}
		made := patched(t, request.Object.Raw, response)
		want := testNamespace("x", foreignOwner, of("oil"))
		if diff := cmp.Diff(want.ObjectMeta, made.ObjectMeta); diff != "" {
			t.Errorf("unexpected namespace (-want +got):\n%s", diff)
		}
		request.Object.Raw = encode(t, made)
		if response := NewValidating(config).Handle(t.Context(), request); !response.Allowed {
			t.Errorf("dry run %t: refused: %v", dryRun, response.Result)
		}
	}
	// The place is taken, and even a dry run says so.
	for _, dryRun := range []bool{true, false} {
		request := createRequest(t, "alice", testNamespace("y", of("oil")))
		request.DryRun = new(dryRun)
		response := NewValidating(config).Handle(t.Context(), request)
		if response.Allowed || response.Result.Code != http.StatusForbidden || response.Result.Reason != metav1.StatusReasonForbidden {
			t.Errorf("dry run %t: got %v, want 403", dryRun, response.Result)
		}
	}
	if diff := cmp.Diff([]string{"TenantAssigned on oil", "Overprovisioned on oil"}, log.all()); diff != "" {
		t.Errorf("unexpected events (-want +got):\n%s", diff)
	}
}

func TestHandlerPutsBack(t *testing.T) {
	config, _ := testConfig(testClient(t, testTenant("oil", "alice")))
	old := testNamespace("x", of("oil"), foreignOwner)
	request := updateRequest(t, "alice", old, testNamespace("x", owner("oil"), foreignOwner))
	response := NewMutating(config).Handle(t.Context(), request)
	if diff := cmp.Diff(old.Labels, patched(t, request.Object.Raw, response).Labels); diff != "" {
		t.Errorf("unexpected labels (-want +got):\n%s", diff)
	}
}

func patched(t *testing.T, raw []byte, response admission.Response) *metav1.PartialObjectMetadata {
	t.Helper()
	document, err := json.Marshal(response.Patches)
	if err != nil {
		t.Fatal(err)
	}
	given, err := answer.Decode[metav1.PartialObjectMetadata](raw)
	if err != nil {
		t.Fatal(err)
	}
	made := full(given)
	c := testClient(t, made)
	if err := c.Patch(t.Context(), made, client.RawPatch(types.JSONPatchType, document)); err != nil {
		t.Fatal(err)
	}
	made.ResourceVersion = ""
	return &metav1.PartialObjectMetadata{ObjectMeta: made.ObjectMeta}
}

func TestHandlerCountsWhatAdministratorsMove(t *testing.T) {
	configuration := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: capsulev1beta2.DefaultConfigurationName}}
	configuration.Spec.Administrators = []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.UserOwner, Name: "ada"}}
	c := testClient(t, configuration, limited(testTenant("oil", "alice"), 1), full(testNamespace("a", of("oil"))))
	config, _ := testConfig(c)
	tests := map[string]struct {
		old, given *metav1.PartialObjectMetadata
		want       int32
	}{
		"into a full Tenant": {old: testNamespace("x"), given: testNamespace("x", of("oil")), want: http.StatusForbidden},
		"out of it":          {old: testNamespace("a", of("oil")), given: testNamespace("a"), want: http.StatusOK},
		"within it":          {old: testNamespace("a", of("oil")), given: testNamespace("a", of("oil"), annotated), want: http.StatusOK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response := NewValidating(config).Handle(t.Context(), updateRequest(t, "ada", test.old, test.given))
			if response.Result.Code != test.want {
				t.Errorf("got %v, want %d", response.Result, test.want)
			}
		})
	}
}

// TestHandlerAsksBeforeItRefuses has a cache that is late.
func TestHandlerAsksBeforeItRefuses(t *testing.T) {
	robot := "system:serviceaccount:oil-ci:robot"
	oil := testTenant("oil", "alice")
	oil.Spec.Owners = append(oil.Spec.Owners, capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
		UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.ServiceAccountOwner, Name: robot},
	}})
	live := testClient(t, oil, full(testNamespace("oil-ci", of("oil"))))
	earlier := testTenant("oil", "bob")
	earlier.UID = "earlier"
	for name, cached := range map[string]client.Reader{"empty": testClient(t), "of an earlier Tenant": testClient(t, earlier)} {
		t.Run(name, func(t *testing.T) {
			config, _ := testConfig(live)
			config.Cached, config.Owners = cached, owners.New(cached, capsulev1beta2.DefaultConfigurationName)
			request := createRequest(t, "alice", testNamespace("x", of("oil")))
			if response := NewMutating(config).Handle(t.Context(), request); !response.Allowed {
				t.Errorf("creation: %v", response.Result)
			}
			if response := NewValidating(config).Handle(t.Context(), request); !response.Allowed {
				t.Errorf("creation: %v", response.Result)
			}
			request = updateRequest(t, "alice", testNamespace("x", of("oil")), testNamespace("x", of("oil"), annotated))
			if response := NewValidating(config).Handle(t.Context(), request); !response.Allowed {
				t.Errorf("update: %v", response.Result)
			}
			request = updateRequest(t, robot, testNamespace("x", of("oil")), testNamespace("x", of("oil"), annotated))
			request.UserInfo.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:oil-ci"}
			if response := NewValidating(config).Handle(t.Context(), request); !response.Allowed {
				t.Errorf("update by a service account: %v", response.Result)
			}
		})
	}
}

// TestHandlerKnowsAllOwners has users who own a Tenant by other means than its spec.
func TestHandlerKnowsAllOwners(t *testing.T) {
	configuration := &capsulev1beta2.CapsuleConfiguration{ObjectMeta: metav1.ObjectMeta{Name: capsulev1beta2.DefaultConfigurationName}}
	configuration.Spec.AllowServiceAccountPromotion = true
	tenantOwner := func(user string, aggregate bool) *capsulev1beta2.TenantOwner {
		o := &capsulev1beta2.TenantOwner{ObjectMeta: metav1.ObjectMeta{Name: "bob", Labels: map[string]string{capsulev1beta2.ManagedTenantLabel: "oil"}}}
		o.Spec.UserSpec, o.Spec.Aggregate = capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: user}, new(aggregate)
		return o
	}
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: "oil-ci", Name: "robot", Labels: map[string]string{capsulev1beta2.OwnerPromotionLabel: "true"},
		Annotations: map[string]string{capsulev1beta2.PromotedForAnnotation: string(testTenant("oil", "alice").UID)},
	}}
	idle := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "oil-ci", Name: "idle"}}
	cluster := func(owner *capsulev1beta2.TenantOwner) client.WithWatch {
		return testClient(t, testTenant("oil", "alice"), full(testNamespace("oil-ci", of("oil"))), configuration, owner, robot, idle)
	}
	for name, test := range map[string]struct {
		who string
		// live is what the API server has, where the cache was left behind.
		live *capsulev1beta2.TenantOwner
		// assigned is whether the first phase finds the Tenant, and allowed whether
		// the second lets it pass.
		assigned, allowed bool
	}{
		"by a TenantOwner":                       {who: "bob", assigned: true, allowed: true},
		"by a TenantOwner that is another's now": {who: "bob", live: tenantOwner("eve", true), assigned: true},
		"a service account with the label":       {who: "system:serviceaccount:oil-ci:robot", assigned: true, allowed: true},
		"a service account without":              {who: "system:serviceaccount:oil-ci:idle"},
	} {
		t.Run(name, func(t *testing.T) {
			cached := cluster(tenantOwner("bob", true))
			config, _ := testConfig(cached)
			if test.live != nil {
				config.Live = cluster(test.live)
			}
			ask := func(h *Handler, n *metav1.PartialObjectMetadata) admission.Response {
				request := createRequest(t, test.who, n)
				request.UserInfo.Groups = nil
				if test.who != "bob" {
					request.UserInfo.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:oil-ci"}
				}
				return h.Handle(t.Context(), request)
			}
			if response := ask(NewMutating(config), testNamespace("x")); response.Allowed != test.assigned || response.Allowed && len(response.Patches) == 0 {
				t.Errorf("want it to be assigned: %v, got %v, %v", test.assigned, response.Result, response.Patches)
			}
			if response := ask(NewValidating(config), testNamespace("x", of("oil"))); response.Allowed != test.allowed {
				t.Errorf("want it to pass: %v, got %v", test.allowed, response.Result)
			}
		})
	}
	t.Run("by a TenantOwner that makes no user", func(t *testing.T) {
		config, _ := testConfig(cluster(tenantOwner("bob", false)))
		request := createRequest(t, "bob", testNamespace("x"))
		request.UserInfo.Groups = nil
		if response := NewMutating(config).Handle(t.Context(), request); !response.Allowed || len(response.Patches) > 0 {
			t.Errorf("want it to be none of our business, got %v, %v", response.Result, response.Patches)
		}
	})
}

// TestHandlerFailsClosed has every read and write fail in turn.
func TestHandlerFailsClosed(t *testing.T) {
	failure := apierrors.NewForbidden(capsulev1beta2.Resource("tenants"), "oil", errors.New("the controller may not"))
	get := func(kind string) interceptor.Funcs {
		return interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			if strings.HasSuffix(typeOf(object), kind) {
				return failure
			}
			return c.Get(ctx, key, object, opts...)
		}}
	}
	list := func(kind string) interceptor.Funcs {
		return interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if strings.HasSuffix(fmt.Sprintf("%T", list), "."+kind) {
				return failure
			}
			return c.List(ctx, list, opts...)
		}}
	}
	write := interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
		return failure
	}}
	assigned := testNamespace("x", of("oil"))
	account := createRequest(t, "system:serviceaccount:a:b", testNamespace("x"))
	account.UserInfo.Groups = []string{"system:serviceaccounts"}
	tests := map[string]struct {
		funcs   interceptor.Funcs
		handler func(Config) *Handler
		request admission.Request
	}{
		"configuration":                        {get("CapsuleConfiguration"), NewMutating, createRequest(t, "alice", testNamespace("x"))},
		"namespace of a service account":       {get("PartialObjectMetadata"), NewMutating, account},
		"the user's Tenants":                   {list("TenantList"), NewMutating, createRequest(t, "alice", testNamespace("x"))},
		"TenantOwners":                         {list("TenantOwnerList"), NewMutating, createRequest(t, "alice", testNamespace("x"))},
		"the Tenant that the label names":      {get("Tenant"), NewMutating, createRequest(t, "alice", testNamespace("x", label("oil")))},
		"the Tenant that it is to be put into": {get("Tenant"), NewValidating, createRequest(t, "alice", assigned)},
		"the Tenant that it belongs to":        {get("Tenant"), NewValidating, updateRequest(t, "alice", assigned, assigned)},
		"the namespaces of the Tenant":         {list("PartialObjectMetadataList"), NewValidating, createRequest(t, "alice", assigned)},
		"the reservation":                      {write, NewValidating, createRequest(t, "alice", assigned)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := intercepted(t, testClient(t, limited(testTenant("oil", "alice"), 1)), test.funcs)
			config, log := testConfig(c)
			response := test.handler(config).Handle(t.Context(), test.request)
			if response.Allowed || response.Result.Code != http.StatusInternalServerError {
				t.Errorf("got allowed=%t, %v, want 500", response.Allowed, response.Result)
			}
			if events := log.all(); len(events) > 0 {
				t.Errorf("unexpected events: %v", events)
			}
		})
	}
}

func typeOf(object client.Object) string {
	switch object.(type) {
	case *capsulev1beta2.CapsuleConfiguration:
		return "CapsuleConfiguration"
	case *capsulev1beta2.Tenant:
		return ".Tenant"
	default:
		return "PartialObjectMetadata"
	}
}

func TestHandlerRefusesInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := intercepted(t, testClient(t), interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			cancel()
			return ctx.Err()
		},
	})
	config, _ := testConfig(c)
	response := NewMutating(config).Handle(ctx, createRequest(t, "alice", testNamespace("x")))
	if response.Allowed || response.Result.Reason != metav1.StatusReasonTimeout {
		t.Errorf("got allowed=%t, %v, want a timeout", response.Allowed, response.Result)
	}
}

// FuzzHandler sends anything at all: a handler answers, and never assigns to
// anything but the user's own Tenant.
func FuzzHandler(f *testing.F) {
	f.Add("CREATE", "", "alice", []byte(`{"metadata":{"name":"x"}}`), []byte(nil))
	f.Add("UPDATE", "status", "alice", []byte(`{"metadata":{"name":"x","labels":null}}`), []byte(`{"metadata":{"name":"x","labels":{"capsule.clastix.io/tenant":"oil"},"ownerReferences":[{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","name":"oil","uid":"uid-of-oil"}]}}`))
	f.Add("DELETE", "", "eve", []byte(nil), []byte(`{"metadata":{"deletionTimestamp":"2026-01-02T03:04:05Z"}}`))
	f.Add("CONNECT", "x", "", []byte(`[]`), []byte(`{"metadata":7}`))
	c := testClient(f, testTenant("oil", "alice"), testTenant("gas", "bob"))
	config, _ := testConfig(c)
	handlers := []*Handler{NewMutating(config), NewValidating(config)}
	f.Fuzz(func(t *testing.T, operation, subresource, who string, object, oldObject []byte) {
		for _, handler := range handlers {
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Operation:   admissionv1.Operation(operation),
				SubResource: subresource,
				Resource:    metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"},
				Object:      runtime.RawExtension{Raw: object},
				OldObject:   runtime.RawExtension{Raw: oldObject},
				UserInfo:    authenticationv1.UserInfo{Username: who, Groups: []string{capsulev1beta2.DefaultUserGroup}},
			}}
			response := handler.Handle(t.Context(), request)
			switch {
			case response.Allowed == (response.Result.Code >= http.StatusBadRequest):
				t.Fatalf("allowed=%t with %v", response.Allowed, response.Result)
			case response.Result.Code >= http.StatusInternalServerError:
				t.Fatalf("failed: %v", response.Result)
			case len(response.Patches) > 0 && operation == string(admissionv1.Create) && who != "alice" && who != "bob":
				t.Fatalf("%q was assigned a namespace: %v", who, response.Patches)
			}
		}
	})
}
