// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/registry"
)

// viewVerbs are the verbs that the views are granted by.
var viewVerbs = []string{"get", "list", "watch"}

// coarseQuestions are what the view authorizer asks of the index.
func coarseQuestions() []access.Question {
	var questions []access.Question
	for _, resource := range registry.Resources() {
		for _, verb := range viewVerbs {
			questions = append(questions, access.Question{Verb: verb, Resource: resource})
		}
	}
	return questions
}

// newViewAuthorizer returns an authorizer that answers whether a user may ask a
// view at all, from the RBAC index: a user or a name that was never seen costs no
// SubjectAccessReview. It only ever allows; everything else is left to the
// authorizer behind it, as is everything while ready returns an error. What a
// user sees in the view is decided by the view.
func newViewAuthorizer(index *access.Index, ready func() error) authorizer.Authorizer {
	known := sets.New(coarseQuestions()...)
	return authorizer.AuthorizerFunc(func(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
		question, ok := coarseQuestion(attributes)
		if !ok || !known.Has(question) {
			return authorizer.DecisionNoOpinion, "", nil
		}
		if err := ready(); err != nil {
			klog.FromContext(ctx).V(4).Info("Not answering from the access index", "reason", err)
			// No reason: it would be told to users whom the next authorizer refuses.
			return authorizer.DecisionNoOpinion, "", nil
		}
		snapshot := index.Snapshot(question)
		subjects := access.SubjectsOf(attributes.GetUser())
		// A rule with resourceNames does not allow a request without a name.
		if snapshot.Every(subjects) || attributes.GetName() != "" && snapshot.Allowed(subjects, attributes.GetName()) {
			return authorizer.DecisionAllow, "RBAC: allowed by the access index", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

func coarseQuestion(attributes authorizer.Attributes) (access.Question, bool) {
	if attributes.GetUser() == nil || !attributes.IsResourceRequest() || attributes.GetAPIGroup() != v1alpha1.GroupName ||
		attributes.GetSubresource() != "" || attributes.GetNamespace() != "" {
		return access.Question{}, false
	}
	return access.Question{Verb: attributes.GetVerb(), Resource: v1alpha1.Resource(attributes.GetResource())}, true
}
