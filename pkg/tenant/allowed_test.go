// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// allow returns a list; the selector may be nil.
func allow(names []string, regex, fallback string, selector *metav1.LabelSelector) *capsulev1beta2.DefaultAllowedList {
	list := &capsulev1beta2.DefaultAllowedList{Default: fallback}
	list.Allowed, list.AllowedRegex = names, regex
	if selector != nil {
		list.LabelSelector = *selector
	}
	return list
}

func TestAllowed(t *testing.T) {
	classes := []*metav1.ObjectMeta{
		{Name: "custom"},
		{Name: "cephfs", Labels: map[string]string{"tier": "gold"}},
		{Name: "zfs-local", Labels: map[string]string{"tier": "bronze"}},
		{Name: "standard"},
	}
	everything := []string{"custom", "cephfs", "zfs-local", "standard"}
	expression := func(operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: operator, Values: values}}}
	}
	for name, test := range map[string]struct {
		given            *capsulev1beta2.DefaultAllowedList
		want             []string
		wantUnrestricted bool
		// wantErrs are the fields.
		wantErrs []string
	}{
		"no list":                   {want: everything, wantUnrestricted: true},
		"an empty list":             {given: &capsulev1beta2.DefaultAllowedList{}},
		"an empty selector":         {given: allow(nil, "", "", &metav1.LabelSelector{})},
		"names":                     {given: allow([]string{"custom", "absent"}, "", "", nil), want: []string{"custom"}},
		"default":                   {given: allow(nil, "", "standard", nil), want: []string{"standard"}},
		"regex, not anchored":       {given: allow(nil, `\w+fs`, "", nil), want: []string{"cephfs", "zfs-local"}},
		"regex, anchored":           {given: allow(nil, `^\w+fs$`, "", nil), want: []string{"cephfs"}},
		"labels":                    {given: allow(nil, "", "", &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}), want: []string{"cephfs"}},
		"In":                        {given: allow(nil, "", "", expression("In", "gold", "bronze")), want: []string{"cephfs", "zfs-local"}},
		"Exists":                    {given: allow(nil, "", "", expression("Exists")), want: []string{"cephfs", "zfs-local"}},
		"Exists with values is In":  {given: allow(nil, "", "", expression("Exists", "gold")), want: []string{"cephfs"}},
		"DoesNotExist":              {given: allow(nil, "", "", expression("DoesNotExist")), want: []string{"custom", "standard"}},
		"union":                     {given: allow([]string{"custom"}, "^zfs", "standard", expression("In", "gold")), want: everything},
		"a bad regex":               {given: allow(nil, "(", "", nil), wantErrs: []string{"spec.list.allowedRegex"}},
		"a bad regex and a name":    {given: allow([]string{"custom"}, "(", "", nil), want: []string{"custom"}, wantErrs: []string{"spec.list.allowedRegex"}},
		"a bad selector":            {given: allow(nil, "", "", expression("Likes", "gold")), wantErrs: []string{"spec.list"}},
		"a bad selector and a name": {given: allow(nil, "", "custom", expression("In")), want: []string{"custom"}, wantErrs: []string{"spec.list"}},
		"In and a bad expression": {
			given: allow(nil, "", "", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "tier", Operator: "Exists"}, {Key: "no key", Operator: "Exists"},
			}}),
			wantErrs: []string{"spec.list"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.given.DeepCopy()
			allowed, errs := NewAllowed(field.NewPath("spec", "list"), test.given)
			var got, gotErrs []string
			for _, class := range classes {
				if allowed.Matches(class) {
					got = append(got, class.Name)
				}
			}
			for _, err := range errs {
				gotErrs = append(gotErrs, err.Field)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("allowed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantErrs, gotErrs); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if allowed.Unrestricted() != test.wantUnrestricted {
				t.Errorf("want unrestricted %v", test.wantUnrestricted)
			}
			if diff := cmp.Diff(before, test.given); diff != "" {
				t.Errorf("the list was changed:\n%s", diff)
			}
		})
	}
}

func TestExistsWithValues(t *testing.T) {
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "a", Operator: "Exists", Values: []string{"x"}},
		{Key: "b", Operator: "Exists"},
		{Key: "c", Operator: "In", Values: []string{"x"}},
		{Key: "d", Operator: "DoesNotExist", Values: []string{"x"}},
		{Key: "e", Operator: "Exists", Values: []string{"y"}},
	}}
	if diff := cmp.Diff([]int{0, 4}, ExistsWithValues(selector)); diff != "" {
		t.Errorf("indexes (-want +got):\n%s", diff)
	}
	warning := ExistsWithValuesWarning(field.NewPath("spec", "storageClasses"), 4)
	if !strings.HasPrefix(warning, "spec.storageClasses.matchExpressions[4]: ") {
		t.Errorf("the warning does not name the field: %s", warning)
	}
}

// TestAllowedIsTheUnion compares it with each way by itself.
func TestAllowedIsTheUnion(t *testing.T) {
	name := rapid.StringMatching("[ab]{1,3}")
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(name, 0, 3).Draw(t, "names")
		regex := rapid.SampledFrom([]string{"", "a", "^a", "b$", "^ab?$"}).Draw(t, "regex")
		fallback := rapid.SampledFrom([]string{"", "a", "bb"}).Draw(t, "default")
		labels := rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2)
		selector := &metav1.LabelSelector{MatchLabels: labels.Draw(t, "selector")}
		class := &metav1.ObjectMeta{Name: name.Draw(t, "class"), Labels: labels.Draw(t, "labels")}

		want := slices.Contains(names, class.Name) || class.Name == fallback
		want = want || regex != "" && regexp.MustCompile(regex).MatchString(class.Name)
		selected := len(selector.MatchLabels) > 0
		for key, value := range selector.MatchLabels {
			selected = selected && class.Labels[key] == value
		}
		want = want || selected

		allowed, errs := NewAllowed(field.NewPath("spec"), allow(names, regex, fallback, selector))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if got := allowed.Matches(class); got != want {
			t.Errorf("want %v, got %v", want, got)
		}
	})
}
