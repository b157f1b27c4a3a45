// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

const globalPrefix = "capsule:global:"

var globalKind = capsulev1beta1.SchemeGroupVersion.WithKind("GlobalProxySettings")

// globalKinds are those that GlobalProxySettings give access to: all that a view is
// served of.
var globalKinds = append(slices.Clone(kinds),
	kind{
		version: objects.NamespaceKind.Version, resource: "namespaces",
		object: func() client.Object { return objects.Metadata(objects.NamespaceKind) },
		list:   func() client.ObjectList { return objects.MetadataList(objects.NamespaceKind) },
	},
	kind{
		group: tenantKind.Group, version: tenantKind.Version, resource: tenantsResource,
		object: func() client.Object { return &capsulev1beta2.Tenant{} },
		list:   func() client.ObjectList { return &capsulev1beta2.TenantList{} },
	},
)

// globalReconciler compiles what GlobalProxySettings give.
type globalReconciler struct {
	client   client.Client
	compiler compiler
}

// Reconcile implements reconcile.Reconciler.
func (r *globalReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var settings capsulev1beta1.GlobalProxySettings
	switch err := r.client.Get(ctx, req.NamespacedName, &settings); {
	case apierrors.IsNotFound(err):
		return retryConflict(r.compiler.compile(ctx, owner{gvk: globalKind, name: req.Name}, nil))
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("get globalproxysettings: %w", err)
	}
	groups, problems := globalGroups(&settings)
	err := r.compiler.compile(ctx, owner{gvk: globalKind, name: settings.Name, uid: settings.UID}, groups)
	if apierrors.IsConflict(err) {
		return retryConflict(err)
	}
	status := globalStatus(&settings, problems, err)
	if !equality.Semantic.DeepEqual(status, settings.Status) {
		written := settings.DeepCopy()
		written.Status = status
		patch := client.MergeFrom(&settings)
		if err := r.client.Status().Patch(ctx, written, patch, client.FieldOwner(objects.FieldManager)); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: verifyInterval}, nil
}

// problems are what of GlobalProxySettings is not compiled.
type problems struct {
	// unsupported are resources of which no view is served.
	unsupported []string
	invalid     field.ErrorList
}

// globalGroups returns who is given what. Subjects that are given the same things,
// in whatever rules, are one group, which is named after these things.
func globalGroups(settings *capsulev1beta1.GlobalProxySettings) ([]group, problems) {
	var found problems
	given := map[rbacv1.Subject]sets.Set[string]{}
	requests := map[string][]request{}
	for i := range settings.Spec.Rules {
		rule := &settings.Spec.Rules[i]
		rulePath := field.NewPath("spec", "rules").Index(i)
		var keys []string
		for j := range rule.ClusterResources {
			resource := &rule.ClusterResources[j]
			key := resourceKey(resource)
			if _, known := requests[key]; !known {
				requests[key] = found.requests(rulePath.Child("clusterResources").Index(j), resource)
			}
			keys = append(keys, key)
		}
		for j := range rule.Subjects {
			subject, err := tenant.Subject(rule.Subjects[j])
			if err != nil {
				found.invalid = append(found.invalid, field.Invalid(rulePath.Child("subjects").Index(j), rule.Subjects[j].Name, err.Error()))
				continue
			}
			if given[subject] == nil {
				given[subject] = sets.New[string]()
			}
			given[subject].Insert(keys...)
		}
	}
	groups := map[string]*group{}
	for subject, keys := range given {
		sorted := sets.List(keys)
		name := globalPrefix + settings.Name + ":" + hashOf(sorted)
		g := groups[name]
		if g == nil {
			g = &group{name: name, subjects: sets.New[rbacv1.Subject](), fixed: grants{}}
			for _, key := range sorted {
				g.requests = append(g.requests, requests[key]...)
			}
			if len(g.requests) == 0 {
				continue
			}
			groups[name] = g
		}
		g.subjects.Insert(subject)
	}
	ordered := make([]group, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		ordered = append(ordered, *groups[name])
	}
	return ordered, found
}

// resourceKey returns what tells a clusterResource from others: all that it says.
func resourceKey(resource *capsulev1beta2.ClusterResource) string {
	data, err := json.Marshal(resource)
	if err != nil {
		// It was read from JSON.
		panic(fmt.Sprintf("encode clusterResource: %v", err))
	}
	return string(data)
}

// hashOf returns a name for a list of strings.
func hashOf(list []string) string {
	data, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("encode strings: %v", err))
	}
	hash := fnv.New64a()
	hash.Write(data)
	return strconv.FormatUint(hash.Sum64(), 16)
}

// requests returns what a clusterResource at path asks for of the kinds that it
// names.
func (f *problems) requests(at *field.Path, resource *capsulev1beta2.ClusterResource) []request {
	for _, group := range resource.APIGroups {
		for _, plural := range resource.Resources {
			if !slices.ContainsFunc(globalKinds, func(k kind) bool { return k.is(group, plural) }) {
				f.unsupported = append(f.unsupported, fmt.Sprintf("%q in the API group %q (%s)", plural, group, at))
			}
		}
	}
	s, err := labelSelection(at.Child("selector"), resource.Selector)
	f.invalid = append(f.invalid, err...)
	read := getVerbs
	switch {
	case resource.Operations == nil || slices.Contains(resource.Operations, capsulev1beta2.ClusterListOperation):
		read = readVerbs
	case len(resource.Operations) == 0:
		f.invalid = append(f.invalid, field.Required(at.Child("operations"), "an empty list allows nothing: leave it out for List and Get"))
		return nil
	}
	var requests []request
	for i := range globalKinds {
		k := &globalKinds[i]
		if slices.ContainsFunc(resource.APIGroups, func(group string) bool {
			return slices.ContainsFunc(resource.Resources, func(plural string) bool { return k.is(group, plural) })
		}) {
			requests = append(requests, request{kind: k, selection: s, read: read})
		}
	}
	return requests
}

// labelSelection selects by labels. A selector without requirements, which would
// select everything, selects nothing.
func labelSelection(at *field.Path, s *metav1.LabelSelector) (*selection, field.ErrorList) {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return &selection{}, field.ErrorList{field.Required(at, "an empty selector selects nothing: name the labels of the objects")}
	}
	selector, errs := tenant.Selector(at, s)
	if selector == nil {
		return &selection{}, errs
	}
	return &selection{matches: func(object metav1.Object) bool {
		return selector.Matches(labels.Set(object.GetLabels()))
	}}, nil
}

// is reports whether a group, which may have a version and wildcards, and a plural
// name the kind.
func (k *kind) is(group, plural string) bool {
	if plural != "*" && plural != k.resource {
		return false
	}
	name := k.group
	if strings.Contains(group, "/") {
		name = path.Join(k.group, k.version)
	}
	if group == "*" {
		return true
	}
	matched, err := path.Match(group, name)
	return err == nil && matched
}

// globalStatus returns what the status is to be.
func globalStatus(settings *capsulev1beta1.GlobalProxySettings, found problems, err error) capsulev1beta2.GlobalProxySettingsStatus {
	status := *settings.Status.DeepCopy()
	status.ObservedGeneration = settings.Generation
	condition := metav1.Condition{Type: conditionReady, ObservedGeneration: settings.Generation}
	switch {
	case err != nil:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, "Failed", shortened(err.Error(), maxMessage)
	case len(found.invalid) > 0:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, reasonInvalidField, shortened(found.invalid.ToAggregate().Error(), maxMessage)
	case len(found.unsupported) > 0:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, reasonUnsupported, "not everything is granted, see the condition "+reasonUnsupported
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, reasonSucceeded, "granted"
	}
	meta.SetStatusCondition(&status.Conditions, condition)
	unsupported := metav1.Condition{
		Type: reasonUnsupported, Status: metav1.ConditionFalse, Reason: "Served", ObservedGeneration: settings.Generation,
		Message: "a view is served of everything that is asked for",
	}
	if len(found.unsupported) > 0 {
		unsupported.Status, unsupported.Reason = metav1.ConditionTrue, "NotServed"
		unsupported.Message = shortened("no view is served of "+strings.Join(found.unsupported, ", "), maxMessage)
	}
	meta.SetStatusCondition(&status.Conditions, unsupported)
	return status
}
