// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// The condition that says whether the spec of a Tenant is understood.
const (
	// AcceptedCondition is the type.
	AcceptedCondition = "Accepted"
	// AcceptedReason is the reason when all of it is.
	AcceptedReason = "Accepted"
	// CorrectedReason is the reason when something in it was read as something else.
	CorrectedReason = "Corrected"
	// InvalidFieldReason is the reason when something in it has no effect.
	InvalidFieldReason = "InvalidField"
)

// The longest lists that messages spell out.
const (
	maxNames    = 3
	maxMessages = 10
)

// observation is what the status of a Tenant is computed from, besides the Tenant.
type observation struct {
	owners     []capsulev1beta2.CoreOwnerSpec
	promotions tenant.Sources
	namespaces []metav1.PartialObjectMetadata
	reports    []report.Report
	classes    map[schema.GroupVersionKind][]metav1.PartialObjectMetadata
	now        time.Time
}

// classKind is a kind of classes of which a Tenant may use some.
type classKind struct {
	kind    schema.GroupVersionKind
	allowed func(*capsulev1beta2.TenantSpec) *capsulev1beta2.DefaultAllowedList
	names   func(*capsulev1beta2.ClassStatus) *[]string
}

// classKinds are those whose names are in the status. GatewayClasses and
// DeviceClasses come with what enforces them: their APIs are not in every cluster,
// and come and go while the controller runs.
var classKinds = []classKind{
	{
		objects.StorageClassKind,
		func(spec *capsulev1beta2.TenantSpec) *capsulev1beta2.DefaultAllowedList { return spec.StorageClasses },
		func(status *capsulev1beta2.ClassStatus) *[]string { return &status.Storage },
	},
	{
		objects.PriorityClassKind,
		func(spec *capsulev1beta2.TenantSpec) *capsulev1beta2.DefaultAllowedList { return spec.PriorityClasses },
		func(status *capsulev1beta2.ClassStatus) *[]string { return &status.Priority },
	},
	{
		objects.RuntimeClassKind,
		func(spec *capsulev1beta2.TenantSpec) *capsulev1beta2.DefaultAllowedList { return spec.RuntimeClasses },
		func(status *capsulev1beta2.ClassStatus) *[]string { return &status.Runtime },
	},
}

// allowedBy returns which classes of a kind a Tenant may use. What is wrong with the
// list the Accepted condition says.
func (k *classKind) allowedBy(t *capsulev1beta2.Tenant) tenant.Allowed {
	allowed, _ := tenant.NewAllowed(field.NewPath("spec"), k.allowed(&t.Spec))
	return allowed
}

// status returns what the status of a Tenant should be, as far as it is ours.
func status(t *capsulev1beta2.Tenant, found observation) *capsulev1beta2.TenantStatus {
	wanted := &capsulev1beta2.TenantStatus{
		State:              state(t),
		Size:               uint32(len(found.namespaces)),
		Owners:             found.owners,
		Classes:            classes(t, found),
		ObservedGeneration: t.Generation,
	}
	wanted.Spaces = spaces(t, found)
	for i := range wanted.Spaces {
		wanted.Namespaces = append(wanted.Namespaces, wanted.Spaces[i].Name)
	}
	for _, condition := range []metav1.Condition{ready(found.reports), cordoned(t), accepted(t, found.promotions)} {
		condition.ObservedGeneration = t.Generation
		condition.Message = shortened(condition.Message, maxMessage)
		wanted.Conditions = append(wanted.Conditions, since(t.Status.Conditions, condition, found.now))
	}
	return wanted
}

func state(t *capsulev1beta2.Tenant) capsulev1beta2.TenantState {
	switch {
	case t.DeletionTimestamp != nil:
		return capsulev1beta2.TenantStateTerminating
	case t.Spec.Cordoned:
		return capsulev1beta2.TenantStateCordoned
	default:
		return capsulev1beta2.TenantStateActive
	}
}

// spaces returns what is known of each namespace, in order of name.
func spaces(t *capsulev1beta2.Tenant, found observation) []capsulev1beta2.Space {
	failures := map[string][]report.Report{}
	for _, r := range found.reports {
		in := r.Namespace
		r.Namespace = ""
		failures[in] = append(failures[in], r)
	}
	type life struct{ name, uid string }
	before := make(map[life][]metav1.Condition, len(t.Status.Spaces))
	for i := range t.Status.Spaces {
		space := &t.Status.Spaces[i]
		before[life{space.Name, string(space.UID)}] = space.Conditions
	}
	list := make([]capsulev1beta2.Space, 0, len(found.namespaces))
	for i := range found.namespaces {
		namespace := &found.namespaces[i]
		condition := ready(failures[namespace.Name])
		if namespace.DeletionTimestamp != nil {
			condition.Status, condition.Reason = metav1.ConditionFalse, capsulev1beta2.TerminatingReason
			condition.Message = "being deleted"
		}
		condition.Message = shortened(condition.Message, maxSpaceMessage)
		list = append(list, capsulev1beta2.Space{
			Name: namespace.Name, UID: namespace.UID,
			Metadata:   metadataOf(namespace),
			Conditions: []metav1.Condition{since(before[life{namespace.Name, string(namespace.UID)}], condition, found.now)},
		})
	}
	slices.SortFunc(list, func(a, b capsulev1beta2.Space) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// metadataOf returns what a namespace carries of what its Tenant wants it to, or nil.
func metadataOf(namespace *metav1.PartialObjectMetadata) *capsulev1beta2.SpaceMetadata {
	labels, annotations := objects.Own(namespace)
	if len(labels)+len(annotations) == 0 {
		return nil
	}
	return &capsulev1beta2.SpaceMetadata{Labels: labels, Annotations: annotations}
}

// classes returns which classes a Tenant may use, or nil if there are none.
func classes(t *capsulev1beta2.Tenant, found observation) *capsulev1beta2.ClassStatus {
	status := &capsulev1beta2.ClassStatus{}
	for i := range classKinds {
		k := &classKinds[i]
		*k.names(status) = names(found.classes[k.kind], k.allowedBy(t))
	}
	return unlessEmpty(status)
}

// unlessEmpty makes no difference between no classes and an empty status of them,
// which comes back from the API server as either.
func unlessEmpty(classes *capsulev1beta2.ClassStatus) *capsulev1beta2.ClassStatus {
	if equality.Semantic.DeepEqual(classes, &capsulev1beta2.ClassStatus{}) {
		return nil
	}
	return classes
}

// names returns the names of the classes that are allowed, in order.
func names(classes []metav1.PartialObjectMetadata, allowed tenant.Allowed) []string {
	var list []string
	for i := range classes {
		if allowed.Matches(&classes[i]) {
			list = append(list, classes[i].Name)
		}
	}
	slices.Sort(list)
	return list
}

func ready(reports []report.Report) metav1.Condition {
	if len(reports) == 0 {
		return metav1.Condition{
			Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionTrue,
			Reason: capsulev1beta2.SucceededReason, Message: "reconciled",
		}
	}
	return metav1.Condition{
		Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionFalse,
		Reason: capsulev1beta2.FailedReason, Message: joined(reports),
	}
}

func cordoned(t *capsulev1beta2.Tenant) metav1.Condition {
	if t.Spec.Cordoned {
		return metav1.Condition{
			Type: capsulev1beta2.CordonedCondition, Status: metav1.ConditionTrue,
			Reason: capsulev1beta2.CordonedReason, Message: "the tenant is frozen",
		}
	}
	return metav1.Condition{
		Type: capsulev1beta2.CordonedCondition, Status: metav1.ConditionFalse,
		Reason: capsulev1beta2.ActiveReason, Message: "the tenant is not frozen",
	}
}

func accepted(t *capsulev1beta2.Tenant, promotions tenant.Sources) metav1.Condition {
	condition := understood(t)
	unbound, surplus := tenant.NotPromoted(t, promotions)
	if len(unbound) > 0 {
		condition.Message += fmt.Sprintf("; the label %s has no effect on %s, it was not set for this Tenant: take it off, or off and on again",
			capsulev1beta2.OwnerPromotionLabel, enumeration(unbound, maxNames, ", "))
	}
	if len(surplus) > 0 {
		condition.Message += fmt.Sprintf("; no more than %d service accounts are owners by the label %s: not %s",
			tenant.MaxPromoted, capsulev1beta2.OwnerPromotionLabel, enumeration(surplus, maxNames, ", "))
	}
	return condition
}

// understood is the condition as far as the spec goes.
func understood(t *capsulev1beta2.Tenant) metav1.Condition {
	invalid, corrected := judge(t)
	condition := metav1.Condition{
		Type: AcceptedCondition, Status: metav1.ConditionTrue,
		Reason: AcceptedReason, Message: "every field is understood",
	}
	if fields := tenant.NotEnforced(&t.Spec); len(fields) > 0 {
		condition.Message += ", and nothing acts upon " + strings.Join(fields, ", ")
	}
	messages := corrected
	switch {
	case len(invalid) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, InvalidFieldReason
		messages = append(invalid, corrected...)
	case len(corrected) > 0:
		condition.Reason = CorrectedReason
	default:
		return condition
	}
	condition.Message = enumeration(messages, maxMessages, "; ")
	return condition
}

// since returns a condition with the time since when it has its status.
func since(before []metav1.Condition, condition metav1.Condition, now time.Time) metav1.Condition {
	condition.LastTransitionTime = metav1.NewTime(now)
	if was := meta.FindStatusCondition(before, condition.Type); was != nil && was.Status == condition.Status {
		condition.LastTransitionTime = was.LastTransitionTime
	}
	return condition
}

// joined returns the messages of reports, each once with the namespaces that it is
// about.
func joined(reports []report.Report) string {
	namespaces := map[string][]string{}
	for _, r := range reports {
		in := namespaces[r.Message]
		if r.Namespace != "" && !slices.Contains(in, r.Namespace) {
			in = append(in, r.Namespace)
		}
		namespaces[r.Message] = in
	}
	messages := make([]string, 0, len(namespaces))
	for _, message := range slices.Sorted(maps.Keys(namespaces)) {
		if in := namespaces[message]; len(in) > 0 {
			message = enumeration(in, maxNames, ", ") + ": " + message
		}
		messages = append(messages, message)
	}
	return enumeration(messages, maxMessages, "; ")
}

// enumeration joins the first parts, and says how many there are more.
func enumeration(parts []string, limit int, separator string) string {
	if len(parts) <= limit {
		return strings.Join(parts, separator)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(parts[:limit], separator), len(parts)-limit)
}

// isRight reports whether there is nothing to write. What others wrote into the
// status is none of our business.
func isRight(is, wanted *capsulev1beta2.TenantStatus) bool {
	present := capsulev1beta2.TenantStatus{
		State: is.State, Size: is.Size, Namespaces: is.Namespaces, Spaces: is.Spaces, Owners: is.Owners,
		Classes: unlessEmpty(is.Classes), ObservedGeneration: is.ObservedGeneration,
	}
	for _, condition := range wanted.Conditions {
		if c := meta.FindStatusCondition(is.Conditions, condition.Type); c != nil {
			present.Conditions = append(present.Conditions, *c)
		}
	}
	return equality.Semantic.DeepEqual(&present, wanted)
}
