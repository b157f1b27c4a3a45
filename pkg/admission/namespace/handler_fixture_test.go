// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

func testScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, capsulev1beta2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// testClient returns a client of a cluster with these objects.
func testClient(t testing.TB, given ...client.Object) client.WithWatch {
	t.Helper()
	return fake.NewClientBuilder().
		WithScheme(testScheme(t)).
		WithStatusSubresource(&capsulev1beta2.Tenant{}).
		WithObjects(given...).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		Build()
}

func intercepted(t testing.TB, c client.WithWatch, funcs interceptor.Funcs) client.WithWatch {
	t.Helper()
	return interceptor.NewClient(c, funcs)
}

// full returns the whole object that the metadata is of.
func full(n *metav1.PartialObjectMetadata) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: n.ObjectMeta}
}

// eventLog remembers events.
type eventLog struct {
	mu     sync.Mutex
	events []string
}

func (l *eventLog) Eventf(regarding, _ runtime.Object, _, reason, _, _ string, _ ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := "?"
	if object, ok := regarding.(metav1.Object); ok {
		name = object.GetName()
	}
	l.events = append(l.events, fmt.Sprintf("%s on %s", reason, name))
}

func (l *eventLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

func testConfig(c client.WithWatch) (Config, *eventLog) {
	log := &eventLog{}
	return Config{
		Cached: c,
		Live:   c,
		Places: NewPlaces(c, c.Status(), NewArrivals(clock.RealClock{}), clock.RealClock{}),
		Events: log,
		Owners: owners.New(c, capsulev1beta2.DefaultConfigurationName),
	}, log
}

// createRequest returns the request of somebody to create the namespace.
func createRequest(t testing.TB, who string, n *metav1.PartialObjectMetadata) admission.Request {
	t.Helper()
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID:       "request",
		Operation: admissionv1.Create,
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Namespace"},
		Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"},
		Name:      n.Name,
		Object:    runtime.RawExtension{Raw: encode(t, n)},
		UserInfo:  authenticationv1.UserInfo{Username: who, Groups: []string{capsulev1beta2.DefaultUserGroup}},
	}}
}

func updateRequest(t testing.TB, who string, old, n *metav1.PartialObjectMetadata) admission.Request {
	t.Helper()
	request := createRequest(t, who, n)
	request.Operation = admissionv1.Update
	request.OldObject.Raw = encode(t, old)
	return request
}

func encode(t testing.TB, n *metav1.PartialObjectMetadata) []byte {
	t.Helper()
	raw, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
