// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

const quotaHook = "resourcequotas.mutating.tenancy.capsule.io"

var apiServer = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}

// sharedQuota returns a ResourceQuota that uses something, in pairs.
func sharedQuota(used ...string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "oil-a", Name: "capsule-oil-0", ResourceVersion: "7",
			Labels:      map[string]string{capsulev1beta2.ManagedTenantLabel: "oil", capsulev1beta2.ResourceQuotaLabel: "0"},
			Annotations: map[string]string{"quota.capsule.clastix.io/hard-pods": "10"},
		},
		Status: corev1.ResourceQuotaStatus{Used: corev1.ResourceList{}},
	}
	for pair := range slices.Chunk(used, 2) {
		q.Status.Used[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return q
}

func granting(q *corev1.ResourceQuota, granted string) *corev1.ResourceQuota {
	q.Annotations[ledger.GrantedAnnotation] = granted
	return q
}

func quotaAttributes(who user.Info, old, given *corev1.ResourceQuota) *admission.VersionedAttributes {
	kind := corev1.SchemeGroupVersion.WithKind("ResourceQuota")
	attributes := &admission.VersionedAttributes{VersionedKind: kind}
	attributes.VersionedOldObject.Set(old)
	attributes.VersionedObject.Set(given)
	attributes.Attributes = admission.NewAttributesRecord(nil, nil, kind, old.Namespace, old.Name,
		corev1.SchemeGroupVersion.WithResource("resourcequotas"), "status", admission.Update, nil, false, who)
	return attributes
}

// TestWhichQuotasAreAskedAbout evaluates the conditions as the API server does.
func TestWhichQuotasAreAskedAbout(t *testing.T) {
	hook := webhooks(t)[quotaHook]
	matcher := hook.GetCompiledMatcher(cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())))
	selector, err := hook.GetParsedObjectSelector()
	if err != nil {
		t.Fatal(err)
	}
	manager := &user.DefaultInfo{Name: "system:serviceaccount:kube-system:resourcequota-controller"}
	with := func(q *corev1.ResourceQuota, change func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
		change(q)
		return q
	}
	const storage = "gold.storageclass.storage.k8s.io/requests.storage"
	for name, test := range map[string]struct {
		who      user.Info
		old, now *corev1.ResourceQuota
		want     bool
	}{
		"more":                        {apiServer, sharedQuota("pods", "1"), sharedQuota("pods", "2"), true},
		"the first":                   {apiServer, sharedQuota(), sharedQuota("pods", "1"), true},
		"as much":                     {apiServer, sharedQuota("cpu", "1"), sharedQuota("cpu", "1000m"), false},
		"less":                        {apiServer, sharedQuota("pods", "2"), sharedQuota("pods", "1"), false},
		"one of two":                  {apiServer, sharedQuota("pods", "2", "cpu", "1"), sharedQuota("pods", "1", "cpu", "1001m"), true},
		"nothing":                     {apiServer, sharedQuota(), sharedQuota("pods", "0"), false},
		"nothing at all":              {apiServer, sharedQuota(), sharedQuota(), false},
		"what is granted":             {apiServer, granting(sharedQuota("pods", "1"), "pods=5"), sharedQuota("pods", "5"), false},
		"more than is granted":        {apiServer, granting(sharedQuota("pods", "1"), "pods=5"), sharedQuota("pods", "6"), true},
		"what is granted now":         {apiServer, sharedQuota("pods", "1"), granting(sharedQuota("pods", "5"), "pods=5"), true},
		"what is granted of another":  {apiServer, granting(sharedQuota("pods", "1"), "count/pods=5,pod=5,podss=5"), sharedQuota("pods", "2"), true},
		"one of several":              {apiServer, granting(sharedQuota(), "cpu=1500m,pods=5,"+storage+"=1Gi"), sharedQuota("cpu", "1.5", storage, "1073741824"), false},
		"with a slash, more":          {apiServer, granting(sharedQuota(), "cpu=1500m,"+storage+"=1Gi"), sharedQuota(storage, "1073741825"), true},
		"granted is no quantity":      {apiServer, granting(sharedQuota(), "pods=many"), sharedQuota("pods", "1"), true},
		"granted is empty":            {apiServer, granting(sharedQuota(), ""), sharedQuota("pods", "1"), true},
		"counted":                     {manager, sharedQuota("pods", "1"), sharedQuota("pods", "2"), false},
		"by an administrator":         {&user.DefaultInfo{Name: "root"}, sharedQuota("pods", "1"), sharedQuota("pods", "2"), false},
		"not shared":                  {apiServer, with(sharedQuota(), func(q *corev1.ResourceQuota) { q.Annotations = nil }), sharedQuota("pods", "2"), false},
		"not labelled":                {apiServer, with(sharedQuota(), func(q *corev1.ResourceQuota) { q.Labels = nil }), sharedQuota("pods", "2"), false},
		"of an older revision":        {apiServer, sharedQuota(), with(sharedQuota("pods", "2"), func(q *corev1.ResourceQuota) { q.ResourceVersion = "6" }), false},
		"of whichever revision":       {apiServer, sharedQuota(), with(sharedQuota("pods", "2"), func(q *corev1.ResourceQuota) { q.ResourceVersion = "" }), true},
		"of somebody without a name":  {&user.DefaultInfo{}, sharedQuota(), sharedQuota("pods", "2"), false},
		"without a status, and a lot": {apiServer, with(sharedQuota(), func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} }), sharedQuota("pods", "2E"), true},
	} {
		t.Run(name, func(t *testing.T) {
			attributes := quotaAttributes(test.who, test.old, test.now)
			result := matcher.Match(t.Context(), attributes, nil, rescuers{})
			if result.Error != nil {
				t.Fatal(result.Error)
			}
			matches := slices.ContainsFunc(hook.GetRules(), func(rule admissionregistrationv1.RuleWithOperations) bool {
				return (&rules.Matcher{Rule: rule, Attr: attributes}).Matches()
			})
			if got := matches && result.Matches && selector.Matches(labels.Set(test.old.Labels)); got != test.want {
				t.Errorf("it is asked about: %v", got)
			}
		})
	}
	t.Run("as the webhook sees it", func(t *testing.T) {
		names := []corev1.ResourceName{"pods", "cpu", "count/pods", "requests.cpu", storage}
		amounts := rapid.SampledFrom([]string{"0", "1", "2", "1500m", "1.5", "1Ki", "3e3", "10"})
		rapid.Check(t, func(t *rapid.T) {
			some := func(label string) corev1.ResourceList {
				list := corev1.ResourceList{}
				for name, amount := range rapid.MapOfN(rapid.SampledFrom(names), amounts, 0, 4).Draw(t, label) {
					list[name] = resource.MustParse(amount)
				}
				return list
			}
			granted := rapid.MapOfN(rapid.SampledFrom(names), amounts, 0, 4).Draw(t, "granted")
			old, now := granting(sharedQuota(), ledger.FormatList(granted)), sharedQuota()
			old.Status.Used, now.Status.Used = some("old"), some("now")
			result := matcher.Match(t.Context(), quotaAttributes(apiServer, old, now), nil, rescuers{})
			if want := len(ledger.Growths(old, now)) > 0; result.Error != nil || result.Matches != want {
				t.Fatalf("it is asked about: %v, %v, and %v grows", result.Matches, result.Error, ledger.Growths(old, now))
			}
		})
	})
	t.Run("within what conditions may cost", func(t *testing.T) {
		old, now := sharedQuota(), sharedQuota()
		granted := map[corev1.ResourceName]string{}
		for i := range 60 {
			name := corev1.ResourceName(fmt.Sprintf("%s.storageclass.storage.k8s.io/requests.storage-%d", strings.Repeat("x", 60), i))
			now.Status.Used[name], granted[name] = resource.MustParse("1Gi"), "1Gi"
		}
		granting(old, ledger.FormatList(granted))
		if result := matcher.Match(t.Context(), quotaAttributes(apiServer, old, now), nil, rescuers{}); result.Error != nil || result.Matches {
			t.Errorf("got %v, %v", result.Matches, result.Error)
		}
	})
}
