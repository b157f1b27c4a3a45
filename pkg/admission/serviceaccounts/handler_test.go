// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package serviceaccounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(capsulev1beta2.AddToScheme(scheme))
	return scheme
}()

func cluster(given ...client.Object) client.WithWatch {
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(given...).
		WithIndex(objects.Metadata(objects.NamespaceKind), objects.TenantOfNamespace, func(namespace client.Object) []string {
			ref, _ := tenant.Of(namespace)
			return []string{ref.Name}
		}).
		Build()
}

func configuration(allow bool) *capsulev1beta2.CapsuleConfiguration {
	return &capsulev1beta2.CapsuleConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: capsulev1beta2.CapsuleConfigurationSpec{
			AllowServiceAccountPromotion: allow,
			Administrators:               []capsulev1beta2.UserSpec{{Kind: capsulev1beta2.GroupOwner, Name: "ops"}},
		},
	}
}

func oil(allow *bool) *capsulev1beta2.Tenant {
	return &capsulev1beta2.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1"},
		Spec: capsulev1beta2.TenantSpec{
			Owners: []capsulev1beta2.OwnerSpec{{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
				UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"},
			}}},
			Permissions: &capsulev1beta2.Permissions{AllowOwnerPromotion: allow},
		},
	}
}

// namespace returns the namespace oil-prod of the Tenant oil, or of an earlier one.
func namespace(earlier string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil-prod", Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"}}}
	n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: "oil-1"}}
	if earlier != "" {
		n.OwnerReferences[0].UID = types.UID(earlier)
	}
	return n
}

func tenantOwner(user string) *capsulev1beta2.TenantOwner {
	return &capsulev1beta2.TenantOwner{
		ObjectMeta: metav1.ObjectMeta{Name: "bob", Labels: map[string]string{capsulev1beta2.ManagedTenantLabel: "oil"}},
		Spec: capsulev1beta2.TenantOwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
			UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: user},
		}},
	}
}

// account returns a service account with the label, which is promoted for oil.
func account(label string) *corev1.ServiceAccount {
	return accountFor("oil-1", label)
}

// accountFor returns one that is promoted for the Tenant with that UID.
func accountFor(uid, label string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "oil-prod", Name: "robot"}}
	if label != "" {
		a.Labels = map[string]string{capsulev1beta2.OwnerPromotionLabel: label}
	}
	if uid != "" {
		a.Annotations = map[string]string{capsulev1beta2.PromotedForAnnotation: uid}
	}
	return a
}

// crowd returns as many promoted service accounts as a Tenant may have.
func crowd() []client.Object {
	accounts := make([]client.Object, 0, tenant.MaxPromoted)
	for i := range tenant.MaxPromoted {
		a := account("true")
		a.Name = fmt.Sprintf("crowd-%03d", i)
		accounts = append(accounts, a)
	}
	return accounts
}

func terminating(a *corev1.ServiceAccount) *corev1.ServiceAccount {
	a.DeletionTimestamp, a.Finalizers = new(metav1.NewTime(time.Unix(1, 0))), []string{"example.com/x"}
	return a
}

// ask returns the answer to a request about a service account; no old one is a
// creation.
func ask(t *testing.T, h admission.Handler, who string, groups []string, old, given *corev1.ServiceAccount) admission.Response {
	t.Helper()
	encode := func(a *corev1.ServiceAccount) runtime.RawExtension {
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: raw}
	}
	request := admissionv1.AdmissionRequest{
		Operation: admissionv1.Create, Namespace: "oil-prod", Name: "robot",
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"},
		Object:   encode(given), UserInfo: authenticationv1.UserInfo{Username: who, Groups: groups},
	}
	if old != nil {
		request.Operation, request.OldObject = admissionv1.Update, encode(old)
	}
	return h.Handle(t.Context(), admission.Request{AdmissionRequest: request})
}

func TestHandle(t *testing.T) {
	const robot = "system:serviceaccount:oil-prod:robot"
	its := []string{"system:serviceaccounts", "system:serviceaccounts:oil-prod"}
	all := []client.Object{configuration(true), oil(nil), namespace(""), tenantOwner("bob"), account("true")}
	full := append([]client.Object{configuration(true), oil(nil), namespace("")}, crowd()...)
	for name, test := range map[string]struct {
		cluster []client.Object
		// cached is what the cache holds, where it is not the cluster.
		cached     []client.Object
		who        string
		groups     []string
		old, given *corev1.ServiceAccount
		// want is a part of the refusal, warned whether it passes to no effect.
		want   string
		warned bool
	}{
		"by an owner":                   {who: "alice"},
		"by an owner, kept":             {who: "alice", old: account("true")},
		"by a TenantOwner":              {who: "bob"},
		"by an administrator":           {who: "carol", groups: []string{"ops"}},
		"by somebody else":              {who: "eve", want: "only the owners"},
		"by somebody else, kept":        {who: "eve", old: account("true"), want: "only the owners"},
		"by somebody else, taken off":   {who: "eve", old: account("true"), given: account("")},
		"by somebody else, another":     {who: "eve", given: account("false")},
		"by somebody else, on its way":  {who: "eve", old: terminating(account("true")), given: terminating(account("true"))},
		"set by somebody on its way":    {who: "eve", old: terminating(account("")), given: terminating(account("true")), want: "only the owners"},
		"by one that is promoted":       {who: robot, groups: its, want: "that have this label themselves"},
		"by one that is promoted, kept": {who: robot, groups: its, old: account("true"), want: "that have this label themselves"},
		"not allowed": {
			cluster: []client.Object{configuration(false), oil(nil), namespace("")}, who: "alice", want: "spec.allowServiceAccountPromotion",
		},
		"not allowed without a configuration": {
			cluster: []client.Object{oil(nil), namespace("")}, who: "alice", want: "spec.allowServiceAccountPromotion",
		},
		"not allowed by the Tenant": {
			cluster: []client.Object{configuration(true), oil(new(false)), namespace("")}, who: "alice", want: "spec.permissions.allowOwnerPromotion",
		},
		"in nobody's namespace": {
			cluster: []client.Object{configuration(true), oil(nil), namespace("oil-0")}, who: "alice", want: "belongs to none",
		},
		"in nobody's namespace, kept": {
			cluster: []client.Object{configuration(true), oil(nil), namespace("oil-0")}, who: "eve", old: accountFor("", "true"), given: accountFor("", "true"), warned: true,
		},
		"in nobody's namespace, bound": {
			cluster: []client.Object{configuration(true), oil(nil), namespace("oil-0")}, who: "eve", old: accountFor("", "true"), want: "belongs to none",
		},
		"by an owner, of another Tenant":  {who: "alice", old: accountFor("gas-1", "true"), given: accountFor("gas-1", "true"), warned: true},
		"by somebody else, bound":         {who: "eve", old: accountFor("gas-1", "true"), want: "only the owners"},
		"one too many":                    {cluster: full, who: "alice", want: "as many of them as it may, 100"},
		"one too many, of another Tenant": {cluster: full, who: "alice", old: accountFor("gas-1", "true"), want: "as many of them as it may"},
		"one too many, kept":              {cluster: full, who: "alice", old: account("true")},
		"one too many, of no effect":      {cluster: full, who: "alice", old: accountFor("gas-1", "true"), given: accountFor("gas-1", "true"), warned: true},
		"in no namespace":                 {cluster: []client.Object{configuration(true), oil(nil)}, who: "alice", want: "belongs to none"},
		"by an owner that the cache knows still": {
			cluster: []client.Object{configuration(true), oil(nil), namespace(""), tenantOwner("frank")}, cached: all, who: "bob", want: "only the owners",
		},
		"by an owner that the cache does not know yet": {cached: []client.Object{configuration(false)}, who: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cluster == nil {
				test.cluster = all
			}
			if test.cached == nil {
				test.cached = test.cluster
			}
			if test.given == nil {
				test.given = account("true")
			}
			h := NewHandler(cluster(test.cluster...), owners.New(cluster(test.cached...), "default"))
			response := ask(t, h, test.who, test.groups, test.old, test.given)
			switch {
			case test.want == "" && !response.Allowed:
				t.Errorf("want it to pass, got %v", response.Result)
			case test.want != "" && (response.Allowed || response.Result.Code != http.StatusForbidden || !strings.Contains(response.Result.Message, test.want)):
				t.Errorf("want a refusal for %q, got %v", test.want, response.Result)
			}
			if (len(response.Warnings) > 0) != test.warned {
				t.Errorf("want a warning: %v, got %q", test.warned, response.Warnings)
			}
		})
	}
}

// TestHandleFailsClosed has every read fail in turn.
func TestHandleFailsClosed(t *testing.T) {
	given := []client.Object{configuration(true), oil(nil), namespace(""), tenantOwner("bob")}
	for fail := range 20 {
		reads, failed := 0, false
		count := func() error {
			if reads++; reads == fail+1 {
				failed = true
				return errors.New("boom")
			}
			return nil
		}
		c := interceptor.NewClient(cluster(given...), interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
				if err := count(); err != nil {
					return err
				}
				return c.Get(ctx, key, object, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if err := count(); err != nil {
					return err
				}
				return c.List(ctx, list, opts...)
			},
		})
		response := ask(t, NewHandler(c, owners.New(c, "default")), "bob", nil, nil, account("true"))
		if !failed {
			if fail < 5 || !response.Allowed {
				t.Errorf("after %d reads: %v", fail, response.Result)
			}
			return
		}
		if response.Allowed || response.Result.Code != http.StatusInternalServerError {
			t.Errorf("read %d failed: got %v", fail, response.Result)
		}
	}
}

func TestHandleOthers(t *testing.T) {
	h := NewHandler(cluster(), owners.New(cluster(), "default"))
	accounts := metav1.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	for name, test := range map[string]struct {
		given admissionv1.AdmissionRequest
		want  int32
	}{
		"another kind": {admissionv1.AdmissionRequest{Resource: metav1.GroupVersionResource{Version: "v1", Resource: "secrets"}}, http.StatusBadRequest},
		"no object":    {admissionv1.AdmissionRequest{Operation: admissionv1.Create, Resource: accounts}, http.StatusBadRequest},
		"no object before": {admissionv1.AdmissionRequest{
			Operation: admissionv1.Update, Resource: accounts, Object: runtime.RawExtension{Raw: []byte(`{}`)},
		}, http.StatusBadRequest},
		"no JSON":    {admissionv1.AdmissionRequest{Operation: admissionv1.Create, Resource: accounts, Object: runtime.RawExtension{Raw: []byte(`{`)}}, http.StatusBadRequest},
		"a deletion": {admissionv1.AdmissionRequest{Operation: admissionv1.Delete, Resource: accounts}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			response := h.Handle(t.Context(), admission.Request{AdmissionRequest: test.given})
			if response.Result.Code != test.want {
				t.Errorf("want %d, got %v", test.want, response.Result)
			}
		})
	}
}

// failing is a cluster that cannot be read.
type failing struct{ client.Reader }

func (failing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("boom")
}
