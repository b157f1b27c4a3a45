// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"fmt"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Allowed decides which classes a Tenant may use: the union of names, of a
// regular expression, which is not anchored, of the default, and of a label
// selector, as at admission.
type Allowed struct {
	restricted bool
	names      []string
	regex      *regexp.Regexp
	selectors  []labels.Selector
}

// NewAllowed returns what a list at path allows. No list allows everything; a list
// that says nothing allows nothing. Elements that cannot be understood allow
// nothing, the others still count; the errors name them.
func NewAllowed(path *field.Path, list *capsulev1beta2.DefaultAllowedList) (Allowed, field.ErrorList) {
	if list == nil {
		return Allowed{}, nil
	}
	var errs field.ErrorList
	a := Allowed{restricted: true, names: slices.Clone(list.Allowed)}
	if list.Default != "" {
		a.names = append(a.names, list.Default)
	}
	if list.AllowedRegex != "" {
		regex, err := regexp.Compile(list.AllowedRegex)
		if err != nil {
			errs = append(errs, field.Invalid(path.Child("allowedRegex"), list.AllowedRegex, err.Error()))
		}
		a.regex = regex
	}
	// An empty label selector matches everything; one that is not given does not.
	if len(list.MatchLabels)+len(list.MatchExpressions) > 0 {
		selector, err := Selector(path, &list.LabelSelector)
		errs = append(errs, err...)
		if selector != nil {
			a.selectors = append(a.selectors, selector)
		}
	}
	return a, errs
}

// Unrestricted reports whether everything is allowed, whatever its name.
func (a Allowed) Unrestricted() bool { return !a.restricted }

// Matches reports whether a class is allowed.
func (a Allowed) Matches(class metav1.Object) bool {
	if !a.restricted || slices.Contains(a.names, class.GetName()) {
		return true
	}
	if a.regex != nil && a.regex.MatchString(class.GetName()) {
		return true
	}
	return slices.ContainsFunc(a.selectors, func(s labels.Selector) bool {
		return s.Matches(labels.Set(class.GetLabels()))
	})
}

// Selector returns what a label selector at path selects, or nil and what is
// wrong with it. Its parts are one conjunction: a part that cannot be understood
// leaves nothing of it. The one exception is the operator Exists with values,
// which documentation for Tenants shows: it is read as In, see ExistsWithValues.
func Selector(path *field.Path, s *metav1.LabelSelector) (labels.Selector, field.ErrorList) {
	if indexes := ExistsWithValues(s); len(indexes) > 0 {
		s = s.DeepCopy()
		for _, i := range indexes {
			s.MatchExpressions[i].Operator = metav1.LabelSelectorOpIn
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path, metav1.FormatLabelSelector(s), err.Error())}
	}
	return selector, nil
}

// ExistsWithValues returns the indexes of the expressions that say Exists and
// give values, which Kubernetes refuses in a selector.
func ExistsWithValues(s *metav1.LabelSelector) []int {
	var indexes []int
	for i, e := range s.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpExists && len(e.Values) > 0 {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// ExistsWithValuesWarning says how the expression i of the selector at path is read.
func ExistsWithValuesWarning(path *field.Path, i int) string {
	return fmt.Sprintf("%s: operator Exists takes no values and is read as In: write In, or leave out the values",
		path.Child("matchExpressions").Index(i))
}
