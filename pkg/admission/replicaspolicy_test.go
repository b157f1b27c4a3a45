// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

// rights are what users may do in every namespace: verbs, or to change the policy.
type rights map[string]string

const changePolicies = "change policies"

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	wanted := a.GetVerb()
	if a.GetResource() == "validatingadmissionpolicies" && a.GetName() == "tenancy-replicas" && wanted == "update" {
		wanted = changePolicies
	}
	if a.GetNamespace() == "" && r[a.GetUser().GetName()] == wanted {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// TestWhoMayChangeReplicas evaluates the conditions of the policy as the API server
// does.
func TestWhoMayChangeReplicas(t *testing.T) {
	var policy admissionregistrationv1.ValidatingAdmissionPolicy
	load(t, "policies/replicas.yaml", &policy)
	as := func(name string, groups []string, extra map[string][]string) user.Info {
		return &user.DefaultInfo{Name: name, Groups: groups, Extra: extra}
	}
	const account = "system:serviceaccount:replicas:replicator"
	accounts := []string{"system:serviceaccounts", "system:serviceaccounts:replicas"}
	const create, update, remove = admission.Create, admission.Update, admission.Delete
	for name, test := range map[string]struct {
		who    user.Info
		denied []admission.Operation
	}{
		"an owner":                          {as("alice", []string{"projectcapsule.dev"}, nil), []admission.Operation{create, update, remove}},
		"a user without groups":             {as("x", nil, nil), []admission.Operation{create, update, remove}},
		"a GlobalTenantResource":            {as(account, accounts, map[string][]string{"replication.tenancy.capsule.io": {"GlobalTenantResource"}}), nil},
		"the same service account, in use":  {as(account, accounts, map[string][]string{"authentication.kubernetes.io/pod-name": {"x"}}), []admission.Operation{create, update, remove}},
		"something else":                    {as(account, accounts, map[string][]string{"replication.tenancy.capsule.io": {"x"}}), []admission.Operation{create, update, remove}},
		"system:masters":                    {as("admin", []string{user.SystemPrivilegedGroup}, nil), nil},
		"the garbage collector":             {as("system:serviceaccount:kube-system:generic-garbage-collector", []string{"system:serviceaccounts:kube-system"}, nil), nil},
		"kube-controller-manager":           {as(user.KubeControllerManager, nil, nil), nil},
		"a kubelet":                         {as("system:node:x", []string{user.NodesGroup}, nil), nil},
		"who may change the policy":         {as("root", nil, nil), nil},
		"who may update in every namespace": {as("updater", nil, nil), []admission.Operation{create, remove}},
		"who may patch in every namespace":  {as("patcher", nil, nil), []admission.Operation{create, remove}},
		"who may delete in every namespace": {as("deleter", nil, nil), []admission.Operation{create, update}},
		"who may create in every namespace": {as("creator", nil, nil), []admission.Operation{update, remove}},
	} {
		t.Run(name, func(t *testing.T) {
			hook := webhook.NewValidatingWebhookAccessor("", policy.Name, &admissionregistrationv1.ValidatingWebhook{
				Name: policy.Name, MatchConditions: policy.Spec.MatchConditions, FailurePolicy: policy.Spec.FailurePolicy,
			})
			matcher := hook.GetCompiledMatcher(cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())))
			for _, operation := range []admission.Operation{create, update, remove} {
				var old, given *corev1.Namespace
				if operation != create {
					old = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
				}
				if operation != remove {
					given = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
				}
				result := matcher.Match(t.Context(), attributesOf(test.who, operation, "", old, given), nil,
					rights{"root": changePolicies, "updater": "update", "patcher": "patch", "deleter": "delete", "creator": "create"})
				if result.Error != nil {
					t.Fatal(result.Error)
				}
				want := false
				for _, denied := range test.denied {
					want = want || denied == operation
				}
				if result.Matches != want {
					t.Errorf("%s: want it to be denied: %v", operation, want)
				}
			}
		})
	}
}

// TestWhichReplicasAreGuarded holds that requests about other objects cost nothing.
func TestWhichReplicasAreGuarded(t *testing.T) {
	var policy admissionregistrationv1.ValidatingAdmissionPolicy
	load(t, "policies/replicas.yaml", &policy)
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.MatchConstraints.ObjectSelector)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		labels labels.Set
		want   bool
	}{
		"of a GlobalTenantResource": {labels.Set{"projectcapsule.dev/created-by": "replications", "tenancy.capsule.io/replicated-by": "GlobalTenantResource"}, true},
		"of a TenantResource":       {labels.Set{"projectcapsule.dev/created-by": "replications"}, false},
		"another":                   {nil, false},
	} {
		if got := selector.Matches(test.labels); got != test.want {
			t.Errorf("%s: want it to be guarded: %v", name, test.want)
		}
	}
}
