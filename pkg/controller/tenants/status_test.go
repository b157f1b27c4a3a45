// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

var (
	then = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
)

func oil(change ...func(*capsulev1beta2.Tenant)) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", UID: "oil-1", Generation: 7}}
	for _, c := range change {
		c(t)
	}
	return t
}

func condition(kind string, status metav1.ConditionStatus, reason, message string, since time.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(since)}
}

// namespace returns the metadata of a namespace of oil's.
func namespace(name string, uid types.UID, change ...func(*metav1.PartialObjectMetadata)) metav1.PartialObjectMetadata {
	n := *objects.Metadata(objects.NamespaceKind)
	n.Name, n.UID = name, uid
	n.Labels = map[string]string{capsulev1beta2.TenantLabel: "oil"}
	n.OwnerReferences = []metav1.OwnerReference{{APIVersion: "capsule.clastix.io/v1beta2", Kind: "Tenant", Name: "oil", UID: "oil-1"}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func terminating(n *metav1.PartialObjectMetadata) {
	n.DeletionTimestamp, n.Finalizers = new(metav1.NewTime(now)), []string{"x/y"}
}

func class(kind schema.GroupVersionKind, name string, labels map[string]string) metav1.PartialObjectMetadata {
	c := *objects.Metadata(kind)
	c.Name, c.Labels = name, labels
	return c
}

func TestConditions(t *testing.T) {
	const (
		fine     = "Ready True Succeeded: reconciled"
		active   = "Cordoned False Active: the tenant is not frozen"
		accepted = "Accepted True Accepted: every field is understood"
	)
	selector := func(operator metav1.LabelSelectorOperator, values ...string) *capsulev1beta2.DefaultAllowedList {
		list := &capsulev1beta2.DefaultAllowedList{}
		list.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: operator, Values: values}}
		return list
	}
	for name, test := range map[string]struct {
		given   func(*capsulev1beta2.Tenant)
		reports []report.Report
		want    []string
	}{
		"well": {want: []string{fine, active, accepted}},
		"cordoned": {
			given: func(t *capsulev1beta2.Tenant) { t.Spec.Cordoned = true },
			want:  []string{fine, "Cordoned True Cordoned: the tenant is frozen", accepted},
		},
		"failed": {
			reports: []report.Report{
				{Source: "access", Message: "boom"},
				{Source: "namespaces", Namespace: "a", Message: "no such role"},
				{Source: "namespaces", Namespace: "b", Message: "no such role"},
				{Source: "namespaces", Namespace: "c", Message: "no such role"},
				{Source: "namespaces", Namespace: "d", Message: "no such role"},
				{Source: "other", Namespace: "d", Message: "no such role"},
			},
			want: []string{"Ready False Failed: boom; a, b, c and 1 more: no such role", active, accepted},
		},
		"read as something else": {
			given: func(t *capsulev1beta2.Tenant) { t.Spec.RuntimeClasses = selector("Exists", "gold") },
			want: []string{fine, active, "Accepted True Corrected: spec.runtimeClasses.matchExpressions[0]: operator Exists takes no values " +
				"and is read as In: write In, or leave out the values"},
		},
		"not understood": {
			given: func(t *capsulev1beta2.Tenant) {
				t.Spec.StorageClasses = selector("Exists", "gold")
				t.Spec.PriorityClasses = &capsulev1beta2.DefaultAllowedList{}
				t.Spec.PriorityClasses.AllowedRegex = "("
			},
			want: []string{fine, active, "Accepted False InvalidField: spec.priorityClasses.allowedRegex: Invalid value: \"(\": " +
				"error parsing regexp: missing closing ): `(`; spec.storageClasses.matchExpressions[0]: operator Exists takes no values " +
				"and is read as In: write In, or leave out the values"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := oil()
			if test.given != nil {
				test.given(given)
			}
			var got []string
			for _, c := range status(given, observation{reports: test.reports, now: now}).Conditions {
				if c.ObservedGeneration != 7 || !c.LastTransitionTime.Time.Equal(now) {
					t.Errorf("want generation and time, got %+v", c)
				}
				got = append(got, fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	given := oil(func(t *capsulev1beta2.Tenant) {
		t.Spec.Owners = []capsulev1beta2.OwnerSpec{{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
			UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: "alice"},
		}}}
		t.Spec.StorageClasses = &capsulev1beta2.DefaultAllowedList{}
		t.Spec.StorageClasses.MatchLabels = map[string]string{"tier": "gold"}
		t.Spec.RuntimeClasses = &capsulev1beta2.DefaultAllowedList{Default: "gvisor"}
		t.Status.Spaces = []capsulev1beta2.Space{
			{Name: "oil-a", UID: "a-1", Conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "reconciled", then)}},
			{Name: "oil-b", UID: "b-0", Conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "reconciled", then)}},
			{Name: "oil-c", UID: "c-1", Conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "reconciled", then)}},
			{Name: "oil-gone", UID: "g-1"},
		}
		t.Status.Conditions = []metav1.Condition{
			condition("Ready", "False", "Failed", "boom", then),
			condition("Cordoned", "True", "Cordoned", "the tenant is frozen", then),
			condition("Theirs", "True", "x", "x", then),
		}
		t.Status.NamespaceReservations = []capsulev1beta2.NamespaceReservation{{Name: "oil-d"}}
	})
	found := observation{
		owners:     tenant.Owners(given, tenant.Sources{}),
		namespaces: []metav1.PartialObjectMetadata{namespace("oil-c", "c-1", terminating), namespace("oil-b", "b-1"), namespace("oil-a", "a-1")},
		reports:    []report.Report{{Source: "namespaces", Namespace: "oil-b", Message: "no such role"}},
		classes: map[schema.GroupVersionKind][]metav1.PartialObjectMetadata{
			objects.StorageClassKind: {
				class(objects.StorageClassKind, "slow", nil), class(objects.StorageClassKind, "fast", map[string]string{"tier": "gold"}),
			},
			objects.PriorityClassKind: {class(objects.PriorityClassKind, "low", nil), class(objects.PriorityClassKind, "high", nil)},
			objects.RuntimeClassKind:  {class(objects.RuntimeClassKind, "kata", nil)},
		},
		now: now,
	}
	want := &capsulev1beta2.TenantStatus{
		State:      "Active",
		Size:       3,
		Namespaces: []string{"oil-a", "oil-b", "oil-c"},
		Spaces: []capsulev1beta2.Space{
			{Name: "oil-a", UID: "a-1", Conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "reconciled", then)}},
			{Name: "oil-b", UID: "b-1", Conditions: []metav1.Condition{condition("Ready", "False", "Failed", "no such role", now)}},
			{Name: "oil-c", UID: "c-1", Conditions: []metav1.Condition{condition("Ready", "False", "Terminating", "being deleted", now)}},
		},
		Owners: []capsulev1beta2.CoreOwnerSpec{{
			UserSpec:     capsulev1beta2.UserSpec{Kind: "User", Name: "alice"},
			ClusterRoles: []string{"admin", "capsule-namespace-deleter"},
		}},
		Classes:            &capsulev1beta2.ClassStatus{Storage: []string{"fast"}, Priority: []string{"high", "low"}},
		ObservedGeneration: 7,
		Conditions: []metav1.Condition{
			condition("Ready", "False", "Failed", "oil-b: no such role", then),
			condition("Cordoned", "False", "Active", "the tenant is not frozen", now),
			condition("Accepted", "True", "Accepted", "every field is understood", now),
		},
	}
	for i := range want.Conditions {
		want.Conditions[i].ObservedGeneration = 7
	}
	before := given.DeepCopy()
	got := status(given, found)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		t.Errorf("the Tenant was changed:\n%s", diff)
	}
	if isRight(&given.Status, got) {
		t.Error("want it to be written")
	}
	// What is written is read back with the fields of others.
	is := got.DeepCopy()
	is.NamespaceReservations = given.Status.NamespaceReservations
	is.Conditions = append(is.Conditions, given.Status.Conditions[2])
	given.Status = *is
	found.now = now.Add(time.Hour)
	if !isRight(&given.Status, status(given, found)) {
		t.Error("want nothing to be written the second time")
	}
}

func TestState(t *testing.T) {
	frozen := func(t *capsulev1beta2.Tenant) { t.Spec.Cordoned = true }
	deleted := func(t *capsulev1beta2.Tenant) { t.DeletionTimestamp = new(metav1.NewTime(now)) }
	for name, test := range map[string]struct {
		given *capsulev1beta2.Tenant
		want  capsulev1beta2.TenantState
	}{
		"in use":             {oil(), capsulev1beta2.TenantStateActive},
		"frozen":             {oil(frozen), capsulev1beta2.TenantStateCordoned},
		"deleted":            {oil(deleted), capsulev1beta2.TenantStateTerminating},
		"frozen and deleted": {oil(frozen, deleted), capsulev1beta2.TenantStateTerminating},
	} {
		if got := state(test.given); got != test.want {
			t.Errorf("%s: want %s, got %s", name, test.want, got)
		}
	}
}

func TestIsRight(t *testing.T) {
	right := status(oil(), observation{namespaces: []metav1.PartialObjectMetadata{namespace("oil-a", "a-1")}, now: now})
	for name, change := range map[string]func(*capsulev1beta2.TenantStatus){
		"state":      func(s *capsulev1beta2.TenantStatus) { s.State = "Cordoned" },
		"size":       func(s *capsulev1beta2.TenantStatus) { s.Size = 2 },
		"namespaces": func(s *capsulev1beta2.TenantStatus) { s.Namespaces = nil },
		"a space":    func(s *capsulev1beta2.TenantStatus) { s.Spaces[0].UID = "a-0" },
		"owners":     func(s *capsulev1beta2.TenantStatus) { s.Owners = []capsulev1beta2.CoreOwnerSpec{{}} },
		"classes":    func(s *capsulev1beta2.TenantStatus) { s.Classes = &capsulev1beta2.ClassStatus{Storage: []string{"x"}} },
		"generation": func(s *capsulev1beta2.TenantStatus) { s.ObservedGeneration = 6 },
		"condition":  func(s *capsulev1beta2.TenantStatus) { s.Conditions[1].Message = "" },
		"missing":    func(s *capsulev1beta2.TenantStatus) { s.Conditions = s.Conditions[:1] },
	} {
		is := right.DeepCopy()
		change(is)
		if isRight(is, right) {
			t.Errorf("%s: want it to be written", name)
		}
	}
}

func TestJudge(t *testing.T) {
	bad := &metav1.LabelSelector{MatchLabels: map[string]string{"no key": ""}}
	badList := &capsulev1beta2.DefaultAllowedList{}
	badList.AllowedRegex = "("
	regex := &capsulev1beta2.AllowedList{AllowedRegex: "("}
	forbidden := &capsulev1beta2.ForbiddenList{DeniedRegex: "("}
	for want, change := range map[string]func(*capsulev1beta2.TenantSpec){
		"spec.owners[1].name": func(s *capsulev1beta2.TenantSpec) {
			s.Owners = make([]capsulev1beta2.OwnerSpec, 2)
			s.Owners[0].UserSpec = capsulev1beta2.UserSpec{Kind: "User", Name: "alice"}
			s.Owners[1].UserSpec = capsulev1beta2.UserSpec{Kind: "ServiceAccount", Name: "robot"}
		},
		"spec.permissions.matchOwners[0]": func(s *capsulev1beta2.TenantSpec) {
			s.Permissions = &capsulev1beta2.Permissions{MatchOwners: []metav1.LabelSelector{*bad}}
		},
		"spec.namespaceOptions.additionalMetadataList[0].namespaceSelector": func(s *capsulev1beta2.TenantSpec) {
			s.NamespaceOptions = &capsulev1beta2.NamespaceOptions{AdditionalMetadataList: []capsulev1beta2.AdditionalMetadataSelector{{NamespaceSelector: bad}, {}}}
		},
		"spec.namespaceOptions.forbiddenLabels.deniedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.NamespaceOptions = &capsulev1beta2.NamespaceOptions{ForbiddenLabels: forbidden}
		},
		"spec.namespaceOptions.forbiddenAnnotations.deniedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.NamespaceOptions = &capsulev1beta2.NamespaceOptions{ForbiddenAnnotations: forbidden}
		},
		"spec.namespaceOptions.requiredMetadata.labels[env]": func(s *capsulev1beta2.TenantSpec) {
			s.NamespaceOptions = &capsulev1beta2.NamespaceOptions{RequiredMetadata: &capsulev1beta2.RequiredMetadata{Labels: map[string]string{"env": "("}}}
		},
		"spec.namespaceOptions.requiredMetadata.annotations[env]": func(s *capsulev1beta2.TenantSpec) {
			s.NamespaceOptions = &capsulev1beta2.NamespaceOptions{RequiredMetadata: &capsulev1beta2.RequiredMetadata{Annotations: map[string]string{"env": "("}}}
		},
		"spec.storageClasses.allowedRegex":  func(s *capsulev1beta2.TenantSpec) { s.StorageClasses = badList },
		"spec.priorityClasses.allowedRegex": func(s *capsulev1beta2.TenantSpec) { s.PriorityClasses = badList },
		"spec.runtimeClasses.allowedRegex":  func(s *capsulev1beta2.TenantSpec) { s.RuntimeClasses = badList },
		"spec.gatewayOptions.allowedClasses.allowedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.GatewayOptions = &capsulev1beta2.GatewayOptions{AllowedClasses: badList}
		},
		"spec.deviceClasses": func(s *capsulev1beta2.TenantSpec) {
			s.DeviceClasses = &capsulev1beta2.SelectorAllowedList{LabelSelector: *bad}
		},
		"spec.ingressOptions.allowedClasses.allowedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.IngressOptions = &capsulev1beta2.IngressOptions{AllowedClasses: badList}
		},
		"spec.ingressOptions.allowedHostnames.allowedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.IngressOptions = &capsulev1beta2.IngressOptions{AllowedHostnames: regex}
		},
		"spec.serviceOptions.forbiddenLabels.deniedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.ServiceOptions = &capsulev1beta2.ServiceOptions{ForbiddenLabels: forbidden}
		},
		"spec.serviceOptions.forbiddenAnnotations.deniedRegex": func(s *capsulev1beta2.TenantSpec) {
			s.ServiceOptions = &capsulev1beta2.ServiceOptions{ForbiddenAnnotations: forbidden}
		},
		"spec.podOptions.additionalMetadata.labels[pod-template-hash]": func(s *capsulev1beta2.TenantSpec) {
			s.PodOptions = &capsulev1beta2.PodOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Labels: map[string]string{"pod-template-hash": "x", "a": "b"}}}
		},
		"spec.serviceOptions.additionalMetadata.annotations": func(s *capsulev1beta2.TenantSpec) {
			s.ServiceOptions = &capsulev1beta2.ServiceOptions{AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Annotations: map[string]string{"no key": ""}}}
		},
		"spec.containerRegistries.allowedRegex": func(s *capsulev1beta2.TenantSpec) { s.ContainerRegistries = regex },
		"spec.nodeSelector":                     func(s *capsulev1beta2.TenantSpec) { s.NodeSelector = map[string]string{"no key": ""} },
	} {
		t.Run(want, func(t *testing.T) {
			invalid, corrected := judge(oil(func(t *capsulev1beta2.Tenant) { change(&t.Spec) }))
			if len(invalid) != 1 || !strings.HasPrefix(invalid[0], want+": ") || len(corrected) > 0 {
				t.Errorf("want one finding about %s, got %q, %q", want, invalid, corrected)
			}
		})
	}
}

func TestShortened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, limit := rapid.String().Draw(t, "text"), rapid.IntRange(8, 20).Draw(t, "limit")
		got := shortened(text, limit)
		if len(got) > limit {
			t.Errorf("%q is too long", got)
		}
		if len(text) <= limit && got != text {
			t.Errorf("want %q as it is, got %q", text, got)
		}
		if !strings.HasPrefix(text, strings.TrimSuffix(got, " ...")) || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("want the beginning of %q, got %q", text, got)
		}
	})
}

func TestWorthAnEvent(t *testing.T) {
	is := func(status metav1.ConditionStatus, reason, message string) *metav1.Condition {
		c := condition("x", status, reason, message, now)
		return &c
	}
	for name, test := range map[string]struct {
		was, is *metav1.Condition
		want    string
	}{
		"a good beginning": {nil, is("True", "Succeeded", "reconciled"), ""},
		"a bad beginning":  {nil, is("False", "Failed", "boom"), "Warning"},
		"nothing new":      {is("False", "Failed", "boom"), is("False", "Failed", "boom"), ""},
		"another failure":  {is("False", "Failed", "boom"), is("False", "Failed", "bang"), "Warning"},
		"well again":       {is("False", "Failed", "boom"), is("True", "Succeeded", "reconciled"), "Normal"},
		"still well":       {is("True", "Succeeded", "reconciled"), is("True", "Succeeded", "in effect"), ""},
		"frozen":           {is("False", "Active", ""), is("True", "Cordoned", ""), "Normal"},
		"corrected":        {is("True", "Accepted", ""), is("True", "Corrected", "x"), "Warning"},
		"invalid":          {is("True", "Corrected", "x"), is("False", "InvalidField", "x"), "Warning"},
	} {
		if got := worthAnEvent(test.was, test.is); got != test.want {
			t.Errorf("%s: want %q, got %q", name, test.want, got)
		}
	}
}

// TestLabelsWithoutEffect names service accounts that are no owners by their label.
func TestLabelsWithoutEffect(t *testing.T) {
	given := oil()
	promotions := tenant.Sources{Config: &capsulev1beta2.CapsuleConfigurationSpec{AllowServiceAccountPromotion: true}}
	for i := range tenant.MaxPromoted + 1 {
		promotions.Promoted = append(promotions.Promoted, tenant.Promoted{Tenant: tenant.RefOf(given), For: given.UID, Name: fmt.Sprintf("robot-%03d", i)})
	}
	promotions.Promoted = append(promotions.Promoted, tenant.Promoted{Tenant: tenant.RefOf(given), For: "gas-1", Name: "moved"})
	want := metav1.Condition{
		Type: AcceptedCondition, Status: metav1.ConditionTrue, Reason: AcceptedReason,
		Message: "every field is understood" +
			"; the label owner.projectcapsule.dev/promote has no effect on moved, it was not set for this Tenant: take it off, or off and on again" +
			"; no more than 100 service accounts are owners by the label owner.projectcapsule.dev/promote: not robot-100",
	}
	if diff := cmp.Diff(want, accepted(given, promotions)); diff != "" {
		t.Errorf("condition (-want +got):\n%s", diff)
	}
}
