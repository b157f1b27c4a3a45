// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

func labelled(key, value string) change {
	return func(n *metav1.PartialObjectMetadata) { metav1.SetMetaDataLabel(&n.ObjectMeta, key, value) }
}

func noted(key, value string) change {
	return func(n *metav1.PartialObjectMetadata) { metav1.SetMetaDataAnnotation(&n.ObjectMeta, key, value) }
}

// applied says that the controller applied the labels.
func applied(labels ...string) change {
	return func(n *metav1.PartialObjectMetadata) {
		n.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: objects.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:` + strings.Join(labels, `":{},"f:`) + `":{}}}}`),
		}}
	}
}

func TestMetadata(t *testing.T) {
	const security = "pod-security.kubernetes.io/enforce"
	strict := testTenant("oil", "alice")
	strict.Spec.NodeSelector = map[string]string{"pool": "oil"}
	strict.Spec.NamespaceOptions = &capsulev1beta2.NamespaceOptions{
		AdditionalMetadata:   &capsulev1beta2.AdditionalMetadata{Labels: map[string]string{security: "restricted", "team/name": "oil"}},
		ForbiddenLabels:      &capsulev1beta2.ForbiddenList{Denied: []string{"secret"}, DeniedRegex: "^team/"},
		ForbiddenAnnotations: &capsulev1beta2.ForbiddenList{Denied: []string{"note"}},
		RequiredMetadata:     &capsulev1beta2.RequiredMetadata{Labels: map[string]string{"cost": "^[0-9]+$", "team/name": ""}, Annotations: map[string]string{}},
	}
	const (
		user  = tenant.CapsuleUser
		admin = tenant.Administrator
	)
	made := func(changes ...change) *metav1.PartialObjectMetadata {
		return testNamespace("oil-x", append([]change{of("oil")}, changes...)...)
	}
	good := labelled("cost", "1")
	settled := []change{good, labelled(security, "restricted"), labelled("team/name", "oil"), noted("scheduler.alpha.kubernetes.io/node-selector", "pool=oil")}
	and := func(more ...change) []change { return append(append([]change{}, settled...), more...) }
	for name, test := range map[string]struct {
		requester   tenant.Requester
		subresource string
		old, given  *metav1.PartialObjectMetadata
		// want is part of the refusal, empty if there is none.
		want string
	}{
		"created as it should be":             {requester: user, given: made(good)},
		"created with what the Tenant gives":  {requester: user, given: made(and()...)},
		"created without what is required":    {requester: user, given: made(), want: `needs the label "cost" with a value that matches "^[0-9]+$"`},
		"the same by an administrator":        {requester: admin, given: made(), want: `needs the label "cost"`},
		"created with another value":          {requester: user, given: made(labelled("cost", "x")), want: `needs the label "cost"`},
		"created with a forbidden label":      {requester: user, given: made(good, labelled("secret", "")), want: `does not let its users set the label "secret"`},
		"created with forbidden labels":       {requester: user, given: made(good, labelled("secret", ""), labelled("team/x", "")), want: `label "secret" and "team/x"`},
		"created with a forbidden annotation": {requester: user, given: made(good, noted("note", "x")), want: `does not let its users set the annotation "note"`},
		"the same by an administrator, too":   {requester: admin, given: made(good, noted("note", "x"))},
		"created with another's value":        {requester: user, given: made(good, labelled(security, "privileged")), want: `the label "` + security + `" of namespace "oil-x" is set by tenant "oil", to "restricted"`},

		"changed otherwise":                {requester: user, old: made(and()...), given: made(and(labelled("mine", "1"))...)},
		"security is loosened":             {requester: user, old: made(and()...), given: made(and(labelled(security, "privileged"))...), want: "is set by tenant"},
		"by status":                        {requester: user, subresource: "status", old: made(and()...), given: made(and(labelled(security, "privileged"))...), want: "is set by tenant"},
		"by an administrator":              {requester: admin, old: made(and()...), given: made(and(labelled(security, "privileged"))...)},
		"security is removed":              {requester: user, old: made(and()...), given: made(good, labelled("team/name", "oil"), settled[3]), want: "is set by tenant"},
		"the node selector goes":           {requester: user, old: made(and()...), given: made(settled[:3]...), want: `the annotation "scheduler.alpha.kubernetes.io/node-selector"`},
		"what the Tenant gives is put on":  {requester: user, old: made(good), given: made(and()...)},
		"it is not there yet":              {requester: user, old: made(good), given: made(good, labelled("mine", "1"))},
		"an old value is left alone":       {requester: user, old: made(and(labelled(security, "baseline"))...), given: made(and(labelled(security, "baseline"), labelled("mine", "1"))...)},
		"an old label that is forbidden":   {requester: user, old: made(and(labelled("secret", "1"))...), given: made(and(labelled("secret", "1"), labelled("mine", "1"))...)},
		"it is changed":                    {requester: user, old: made(and(labelled("secret", "1"))...), given: made(and(labelled("secret", "2"))...), want: "does not let its users"},
		"it is removed":                    {requester: user, old: made(and(labelled("secret", "1"))...), given: made(and()...)},
		"what is required lacked before":   {requester: user, old: made(settled[1:]...), given: made(append(settled[1:], labelled("mine", "1"))...)},
		"what is required is spoilt":       {requester: user, old: made(and()...), given: made(and(labelled("cost", "x"))...), want: `needs the label "cost"`},
		"written in the controller's name": {requester: user, old: made(and(applied(security))...), given: made(and(applied(security, "mine"), labelled("mine", "1"))...), want: "write by another field manager"},
		"created in the controller's name": {requester: user, given: made(good, applied("cost")), want: "write by another field manager"},
		"its managedFields are taken away": {requester: user, old: made(and(applied(security))...), given: made(and()...), want: "leave them as they are"},
		"by an administrator, who may":     {requester: admin, old: made(and(applied(security))...), given: made(and()...)},
		"with the controller's entry":      {requester: user, old: made(and(applied(security))...), given: made(and(applied(security), labelled("mine", "1"))...)},
		"it is being deleted":              {requester: user, old: made(and(terminating)...), given: made(and(terminating, labelled("secret", "1"))...)},
		"finalized":                        {requester: user, subresource: "finalize", old: made(and()...), given: made(and(labelled("secret", "1"))...)},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Operation: admissionv1.Update, Subresource: test.subresource, Name: "oil-x", Old: test.old, New: test.given, User: person("alice")}
			if test.old == nil {
				r.Operation = admissionv1.Create
			}
			d := Validate(r, factsOf(test.requester, r.User, strict))
			if test.want == "" && d.Refusal != "" || !strings.Contains(d.Refusal, test.want) {
				t.Errorf("want a refusal with %q, got %q", test.want, d.Refusal)
			}
			if test.want != "" && (d.Event == nil || d.Joins != nil) {
				t.Errorf("want an event and no place taken, got %+v", d)
			}
		})
	}
}
