// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// exceptTimes ignores when and with how many words.
var exceptTimes = cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime", "Message")

func TestStatusOfProxySettings(t *testing.T) {
	oil := goldOwners(t, "alice")
	bob := capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}
	for name, test := range map[string]struct {
		subjects string
		noTenant bool
		want     metav1.Condition
		// wantMessage is part of the message.
		wantMessage string
		wantRefused []capsulev1beta2.RefusedOperation
	}{
		"granted": {
			subjects:    `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want:        metav1.Condition{Status: "True", Reason: "Succeeded"},
			wantMessage: "tenant oil",
		},
		"more than an owner holds": {
			subjects: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List, Delete]}, {kind: RuntimeClasses, operations: [List]}]}]`,
			want:     metav1.Condition{Status: "False", Reason: "Refused"}, wantMessage: "Delete of Nodes; 2 operations are refused",
			wantRefused: []capsulev1beta2.RefusedOperation{
				{Subject: bob, Kind: "Nodes", Operation: "Delete"}, {Subject: bob, Kind: "RuntimeClasses", Operation: "List"},
			},
		},
		"the namespace is no Tenant's": {
			subjects: `[{kind: User, name: bob, proxySettings: [{kind: Nodes, operations: [List]}]}]`, noTenant: true,
			want: metav1.Condition{Status: "False", Reason: "NoTenant"}, wantMessage: "namespace oil-prod",
		},
		"a subject that cannot be understood": {
			subjects: `[{kind: User, name: bob}, {kind: ServiceAccount, name: robot, proxySettings: [{kind: Nodes, operations: [List]}]}]`,
			want:     metav1.Condition{Status: "False", Reason: "InvalidField"}, wantMessage: "spec.subjects[1]",
		},
		"clusterResources": {
			subjects: `[{kind: User, name: bob}, {kind: User, name: eve, clusterResources: [{apiGroups: [""], resources: [secrets], selector: {matchLabels: {a: b}}}]}]`,
			want:     metav1.Condition{Status: "False", Reason: "Refused"}, wantMessage: "spec.subjects[1].clusterResources",
		},
	} {
		t.Run(name, func(t *testing.T) {
			setting := settingIn(prod, "sre")
			setting.Generation = 7
			setting.Spec.Subjects = proxySubjects(t, test.subjects)
			// Of an earlier generation.
			setting.Status = capsulev1beta2.ProxySettingStatus{
				ObservedGeneration: 6, Refused: []capsulev1beta2.RefusedOperation{{Subject: bob, Kind: "Tenant", Operation: "List"}},
			}
			of := oil
			if test.noTenant {
				of = nil
			}
			test.want.Type, test.want.ObservedGeneration = "Ready", 7
			want := capsulev1beta2.ProxySettingStatus{ObservedGeneration: 7, Conditions: []metav1.Condition{test.want}, Refused: test.wantRefused}
			got := policy{writeOperations: true}.settingStatus(setting, of)
			if diff := cmp.Diff(want, got, exceptTimes); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Conditions[0].Message, test.wantMessage) {
				t.Errorf("message %q does not say %q", got.Conditions[0].Message, test.wantMessage)
			}
			if setting.Status.ObservedGeneration != 6 {
				t.Error("the ProxySetting was changed")
			}
		})
	}
}

// TestRefusalsAreBounded asks for more than a status can say.
func TestRefusalsAreBounded(t *testing.T) {
	setting := settingIn(prod, "sre")
	setting.Spec.Subjects = nil
	for i := range 1000 {
		s := capsulev1beta2.ProxySubject{UserSpec: capsulev1beta2.UserSpec{Kind: "User", Name: strconv.Itoa(i)}}
		for _, service := range services {
			s.ProxySettings = append(s.ProxySettings, capsulev1beta2.ProxyOperations{Kind: service, Operations: operations[:]})
		}
		setting.Spec.Subjects = append(setting.Spec.Subjects, s)
	}
	status := policy{writeOperations: true}.settingStatus(setting, goldOwners(t, "alice"))
	if got := len(status.Refused); got != 100 {
		t.Errorf("%d refused operations are listed, want 100", got)
	}
	if message := status.Conditions[0].Message; !strings.Contains(message, "20000 operations") {
		t.Errorf("the message does not say how many: %s", message)
	}
}

// reconcileSetting reconciles the ProxySetting sre.
func (c *fakeCluster) reconcileSetting(tb testing.TB) error {
	tb.Helper()
	r := &settingReconciler{client: c, tenants: tenantFinder{c}, policy: policy{writeOperations: true}}
	_, err := r.Reconcile(tb.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: prod, Name: "sre"}})
	return err
}

func TestProxySettingsAreReportedOn(t *testing.T) {
	oil := goldOwners(t, "alice")
	const write = "patch status of ProxySetting oil-prod/sre"
	c := newCluster(t, oil, owned(prod, oil), settingIn(prod, "sre"))
	reason := func() string {
		t.Helper()
		var s capsulev1beta1.ProxySetting
		must(t, c.Get(t.Context(), client.ObjectKey{Namespace: prod, Name: "sre"}, &s))
		return s.Status.Conditions[0].Reason
	}
	must(t, c.reconcileSetting(t))
	must(t, c.reconcileSetting(t))
	if diff := cmp.Diff([]string{write}, c.written()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if got := reason(); got != "Succeeded" {
		t.Errorf("reason %s", got)
	}
	must(t, c.Client.DeleteAllOf(t.Context(), &capsulev1beta2.Tenant{}))
	must(t, c.reconcileSetting(t))
	if got := reason(); got != "NoTenant" {
		t.Errorf("reason %s", got)
	}
}

func TestProxySettingsThatGo(t *testing.T) {
	oil := goldOwners(t, "alice")
	for name, given := range map[string][]client.Object{
		"the ProxySetting": {oil, owned(prod, oil)}, "the namespace": {oil, settingIn(prod, "sre")},
	} {
		t.Run(name+" is gone", func(t *testing.T) {
			c := newCluster(t)
			for _, object := range given {
				must(t, c.Create(t.Context(), copied(object)))
			}
			must(t, c.reconcileSetting(t))
			if writes := c.written(); len(writes) > 0 {
				t.Errorf("wrote %v", writes)
			}
		})
	}
	for name, test := range map[string]struct {
		refusal error
		want    bool
	}{
		"while its status is written":     {refusal: apierrors.NewNotFound(capsulev1beta1.SchemeGroupVersion.WithResource("proxysettings").GroupResource(), "sre")},
		"an error when status is written": {refusal: errors.New("no answer"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, goldOwners(t, "alice"), owned(prod, oil), settingIn(prod, "sre"))
			c.refuse = func(string) error { return test.refusal }
			if err := c.reconcileSetting(t); (err != nil) != test.want {
				t.Errorf("got error %v", err)
			}
		})
	}
}

// TestProxySettingsAreCompiled follows one from its namespace into a role, and out.
func TestProxySettingsAreCompiled(t *testing.T) {
	oil, gas := goldOwners(t, "alice"), tenantNamed("gas")
	gas.Spec = goldOwners(t, "carol").Spec
	c := newCluster(t, oil, gas, owned(prod, oil), settingIn(prod, "sre"), node("a", "tier=gold"))
	f := c.reconcilers()
	subjects := func() map[string][]string {
		t.Helper()
		f.reconcile(t, "oil")
		f.reconcile(t, "gas")
		got := map[string][]string{}
		for name, lines := range c.compiled(t) {
			if strings.HasPrefix(name, "ClusterRoleBinding") {
				got[strings.TrimPrefix(name, "ClusterRoleBinding capsule:tenant:")] = lines[1:]
			}
		}
		return got
	}
	owners := map[string][]string{"oil:3": {"User alice"}, "gas:3": {"User carol"}}
	if diff := cmp.Diff(mixed(owners, map[string][]string{"oil:2": {"User bob"}}), subjects()); diff != "" {
		t.Errorf("in a namespace of oil (-want +got):\n%s", diff)
	}
	must(t, c.Update(t.Context(), owned(prod, gas)))
	if diff := cmp.Diff(mixed(owners, map[string][]string{"gas:2": {"User bob"}}), subjects()); diff != "" {
		t.Errorf("in a namespace of gas (-want +got):\n%s", diff)
	}
	must(t, c.Update(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: prod}}))
	if diff := cmp.Diff(owners, subjects()); diff != "" {
		t.Errorf("in a namespace of nobody (-want +got):\n%s", diff)
	}
	must(t, c.Update(t.Context(), owned(prod, gas)))
	must(t, c.Client.DeleteAllOf(t.Context(), &capsulev1beta1.ProxySetting{}, client.InNamespace(prod)))
	if diff := cmp.Diff(owners, subjects()); diff != "" {
		t.Errorf("without it (-want +got):\n%s", diff)
	}
}
