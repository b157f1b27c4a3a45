// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// The verbs that are looked for, in the order in which they are shown. There are others;
// nobody does anything to a namespace, a node or a class by them.
const (
	verbGet   = "get"
	verbList  = "list"
	verbWatch = "watch"
)

// writes are the verbs of which the rules decide.
var writes = []string{"update", "patch", "delete"}

// nowhere is a namespace that there cannot be, for its name is not one. A review of the
// rules there has none of RoleBindings, which give nothing of what is in no namespace.
const nowhere = "tenancy.capsule.io"

// rules are what a user may do.
type rules []authorizationv1.ResourceRule

// allow reports whether something may be done to an object, or to all if the name is empty.
func (r rules) allow(verb string, resource schema.GroupResource, name string) bool {
	return slices.ContainsFunc(r, func(rule authorizationv1.ResourceRule) bool {
		return has(rule.Verbs, verb) && has(rule.APIGroups, resource.Group) && has(rule.Resources, resource.Resource) &&
			(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, name))
	})
}

// has reports whether a list of RBAC holds something, or everything.
func has(list []string, s string) bool { return slices.Contains(list, s) || slices.Contains(list, "*") }

// allowAll reports whether all that is looked for may be done to all objects.
func (r rules) allowAll(resource schema.GroupResource) bool {
	return len(r.written(resource, "")) == len(writes)
}

// written returns what may be done to an object.
func (r rules) written(resource schema.GroupResource, name string) []string {
	var verbs []string
	for _, verb := range writes {
		if r.allow(verb, resource, name) {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

// may asks whether something may be done to an object.
func (r *Reader) may(ctx context.Context, verb string, resource *rewrite.Resource, name string) (bool, error) {
	attributes := &authorizationv1.ResourceAttributes{
		Verb: verb, Group: resource.Native.Group, Version: resource.Native.Version, Resource: resource.Native.Resource, Name: name,
	}
	if isNamespace(resource) {
		attributes.Namespace = name
	}
	review, err := r.clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether to %s %s is allowed: %w", verb, name, err)
	}
	return review.Status.Allowed, nil
}

// rulesIn returns the user's rules in a namespace, with those of the cluster, and what
// may be missing from them.
func (r *Reader) rulesIn(ctx context.Context, namespace string) (is rules, missing string, err error) {
	review, err := r.clients.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("ask for the rules: %w", err)
	}
	if review.Status.Incomplete {
		missing = "the API server cannot list all rules, so that verbs beyond get and list may be missing"
		if review.Status.EvaluationError != "" {
			missing += ": " + review.Status.EvaluationError
		}
	}
	return review.Status.ResourceRules, missing, nil
}
