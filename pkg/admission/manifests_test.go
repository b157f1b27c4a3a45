// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func load(t *testing.T, file string, into any) {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS("../../artifacts/base"), file)
	if err != nil {
		t.Fatal(err)
	}
	// The first document is what it is about.
	first, _, _ := strings.Cut(string(text), "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(first), into); err != nil {
		t.Fatal(err)
	}
}

// webhooks returns the webhooks of the manifests, as the API server sees them.
func webhooks(t *testing.T) map[string]webhook.WebhookAccessor {
	t.Helper()
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	load(t, "webhooks/mutating.yaml", &mutating)
	load(t, "webhooks/validating.yaml", &validating)
	accessors := map[string]webhook.WebhookAccessor{}
	for i := range mutating.Webhooks {
		accessors[mutating.Webhooks[i].Name] = webhook.NewMutatingWebhookAccessor("", mutating.Name, &mutating.Webhooks[i])
	}
	for i := range validating.Webhooks {
		accessors[validating.Webhooks[i].Name] = webhook.NewValidatingWebhookAccessor("", validating.Name, &validating.Webhooks[i])
	}
	return accessors
}

func TestManifestsNameWhatIsServed(t *testing.T) {
	var paths []string
	for name, hook := range webhooks(t) {
		service := hook.GetClientConfig().Service
		if service.Name != "tenancy-controller" || service.Namespace != "tenancy-system" {
			t.Errorf("%s is sent to %s/%s", name, service.Namespace, service.Name)
		}
		paths = append(paths, *service.Path)
		if *hook.GetFailurePolicy() != admissionregistrationv1.Fail || *hook.GetMatchPolicy() != admissionregistrationv1.Equivalent {
			t.Errorf("%s: failurePolicy %s, matchPolicy %s", name, *hook.GetFailurePolicy(), *hook.GetMatchPolicy())
		}
	}
	slices.Sort(paths)
	want := []string{ValidateConfigPath, ValidateCordonedPath, MutateNamespacePath, ValidateNamespacePath, MutateQuotaPath, MutateAccountPath, ValidateAccountPath, MutateTenantPath, ValidateTenantPath}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("unexpected paths (-want +got):\n%s", diff)
	}
}

// TestOverlayWithCertManagerLacksNothing holds it to the base, but for certificates.
func TestOverlayWithCertManagerLacksNothing(t *testing.T) {
	resources := func(dir, prefix string) []string {
		text, err := fs.ReadFile(os.DirFS("../../artifacts"), dir+"/kustomization.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var kustomization struct {
			Resources []string `json:"resources"`
		}
		if err := yaml.Unmarshal(text, &kustomization); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, name := range kustomization.Resources {
			if name = strings.TrimPrefix(name, prefix); name != "certificates" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if diff := cmp.Diff(resources("base", ""), resources("overlays/cert-manager", "../../base/")); diff != "" {
		t.Errorf("resources (-base +overlay):\n%s", diff)
	}
}

// rescuers may rewrite the webhooks' configuration.
type rescuers []string

func (r rescuers) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	asked := a.GetVerb() == "update" && a.GetAPIGroup() == admissionregistrationv1.GroupName &&
		a.GetResource() == "validatingwebhookconfigurations" && a.GetName() == "tenancy-controller"
	if asked && slices.Contains(r, a.GetUser().GetName()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// TestWhichRequestsAreSent evaluates the conditions as the API server does.
func TestWhichRequestsAreSent(t *testing.T) {
	const (
		mutating   = "namespaces.mutating.tenancy.capsule.io"
		validating = "namespaces.validating.tenancy.capsule.io"
		tenants    = "tenants.validating.tenancy.capsule.io"
		labels     = "tenants.mutating.tenancy.capsule.io"
		config     = "capsuleconfigurations.validating.tenancy.capsule.io"
	)
	both, final, none := []string{mutating, validating}, []string{validating}, []string(nil)
	namespace := func(name string, changes ...func(*corev1.Namespace)) *corev1.Namespace {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, change := range changes {
			change(n)
		}
		return n
	}
	labelled := func(n *corev1.Namespace) { n.Labels = map[string]string{capsulev1beta2.TenantLabel: "oil"} }
	owned := func(n *corev1.Namespace) {
		n.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: "x"},
			{APIVersion: "capsule.clastix.io/v1beta1", Kind: "Tenant", Name: "oil"},
		}
	}
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{"projectcapsule.dev", user.AllAuthenticated}}
	root := &user.DefaultInfo{Name: "root", Groups: []string{user.AllAuthenticated}}
	masters := &user.DefaultInfo{Name: "kubernetes-admin", Groups: []string{user.SystemPrivilegedGroup}}
	collector := &user.DefaultInfo{Name: "system:serviceaccount:kube-system:generic-garbage-collector", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system"}}
	manager := &user.DefaultInfo{Name: user.KubeControllerManager, Groups: []string{user.AllAuthenticated}}
	self := &user.DefaultInfo{Name: "system:serviceaccount:tenancy-system:tenancy-controller", Groups: []string{"system:serviceaccounts"}}

	tests := map[string]struct {
		who         user.Info
		operation   admission.Operation
		subresource string
		old, given  *corev1.Namespace
		want        []string
	}{
		"create":                            {who: alice, operation: admission.Create, given: namespace("x"), want: both},
		"create, name to be generated":      {who: alice, operation: admission.Create, given: namespace(""), want: both},
		"create, without groups":            {who: &user.DefaultInfo{Name: "x"}, operation: admission.Create, given: namespace("x"), want: both},
		"update of nobody's":                {who: alice, operation: admission.Update, old: namespace("x"), given: namespace("x"), want: both},
		"delete of nobody's":                {who: alice, operation: admission.Delete, old: namespace("x"), want: none},
		"delete of a tenant's":              {who: alice, operation: admission.Delete, old: namespace("x", owned), want: final},
		"status of nobody's":                {who: alice, operation: admission.Update, subresource: "status", old: namespace("x"), given: namespace("x"), want: none},
		"status of a tenant's":              {who: alice, operation: admission.Update, subresource: "status", old: namespace("x", labelled), given: namespace("x"), want: final},
		"status of one that becomes one":    {who: alice, operation: admission.Update, subresource: "status", old: namespace("x"), given: namespace("x", owned), want: final},
		"finalize of one that becomes one":  {who: root, operation: admission.Update, subresource: "finalize", old: namespace("x"), given: namespace("x", labelled), want: final},
		"system:masters":                    {who: masters, operation: admission.Create, given: namespace("x", labelled), want: none},
		"the garbage collector":             {who: collector, operation: admission.Delete, old: namespace("x", labelled, owned), want: none},
		"kube-controller-manager finalizes": {who: manager, operation: admission.Update, subresource: "finalize", old: namespace("x", labelled), given: namespace("x", labelled), want: none},
		"the controller":                    {who: self, operation: admission.Update, old: namespace("x", labelled), given: namespace("x"), want: none},
		"a user patches kube-system":        {who: alice, operation: admission.Update, old: namespace("kube-system"), given: namespace("kube-system"), want: both},
		"a rescuer patches kube-system":     {who: root, operation: admission.Update, old: namespace("kube-system"), given: namespace("kube-system"), want: none},
		"a rescuer creates tenancy-system":  {who: root, operation: admission.Create, given: namespace("tenancy-system"), want: none},
		"a rescuer patches another":         {who: root, operation: admission.Update, old: namespace("x"), given: namespace("x"), want: both},
		"a rescuer gives kube-system away":  {who: root, operation: admission.Update, old: namespace("kube-system"), given: namespace("kube-system", labelled), want: both},
		"a user creates tenancy-system":     {who: alice, operation: admission.Create, given: namespace("tenancy-system"), want: both},
	}
	hooks := webhooks(t)
	compiler := cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, hook := range both {
				if sent(t, compiler, hooks[hook], test.who, test.operation, test.subresource, test.old, test.given) {
					got = append(got, hook)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unexpected webhooks (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("who keeps a label of a service account is asked about", func(t *testing.T) {
		// What the object is does not matter to these conditions either.
		promoted := func(value string) *corev1.Namespace {
			return namespace("x", func(n *corev1.Namespace) { n.Labels = map[string]string{capsulev1beta2.OwnerPromotionLabel: value} })
		}
		for name, test := range map[string]struct {
			who        user.Info
			old, given *corev1.Namespace
			want       bool
		}{
			"made with it":           {alice, nil, promoted("true"), true},
			"kept":                   {root, promoted("true"), promoted("true"), true},
			"set to something else":  {alice, promoted("true"), promoted("false"), false},
			"taken off":              {alice, promoted("true"), namespace("x"), false},
			"by system:masters":      {masters, nil, promoted("true"), false},
			"by the control plane":   {collector, promoted("true"), promoted("true"), false},
			"by the token generator": {manager, promoted("true"), promoted("true"), false},
		} {
			operation := admission.Update
			if test.old == nil {
				operation = admission.Create
			}
			for _, phase := range []string{"mutating", "validating"} {
				hook := hooks["serviceaccounts."+phase+".tenancy.capsule.io"]
				if got := matches(t, compiler, hook, test.who, operation, "", test.old, test.given); got != test.want {
					t.Errorf("%s: want it to be asked about: %v, %s", name, test.want, phase)
				}
				// Also where the namespace is no tenant's yet.
				if hook.GetNamespaceSelector() != nil {
					t.Errorf("%s: %v leaves namespaces out", phase, hook.GetNamespaceSelector())
				}
			}
		}
	})
	t.Run("accounts of other namespaces are asked about in a cordoned one", func(t *testing.T) {
		account := func(namespace string) user.Info { return serviceaccount.UserInfo(namespace, "robot", "") }
		for name, test := range map[string]struct {
			who      user.Info
			resource schema.GroupVersionResource
			want     bool
		}{
			"of another namespace":   {account("y"), corev1.SchemeGroupVersion.WithResource("pods"), true},
			"of one that begins so":  {account("x-y"), corev1.SchemeGroupVersion.WithResource("pods"), true},
			"a custom resource":      {account("y"), schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "events"}, true},
			"its own":                {account("x"), corev1.SchemeGroupVersion.WithResource("pods"), false},
			"a user":                 {alice, corev1.SchemeGroupVersion.WithResource("pods"), false},
			"nobody":                 {&user.DefaultInfo{}, corev1.SchemeGroupVersion.WithResource("pods"), false},
			"of the control plane":   {collector, corev1.SchemeGroupVersion.WithResource("pods"), false},
			"the controller":         {self, corev1.SchemeGroupVersion.WithResource("pods"), false},
			"an event":               {account("y"), corev1.SchemeGroupVersion.WithResource("events"), false},
			"an event of events.k8s": {account("y"), eventsv1.SchemeGroupVersion.WithResource("events"), false},
		} {
			hook := hooks["cordoned.validating.tenancy.capsule.io"]
			attributes := attributesOf(test.who, admission.Create, "", nil, namespace("x"))
			attributes.Attributes = admission.NewAttributesRecord(nil, nil, attributes.VersionedKind, "x", "name", test.resource, "", admission.Create, nil, false, test.who)
			result := hook.GetCompiledMatcher(compiler).Match(t.Context(), attributes, nil, rescuers{})
			if result.Error != nil || result.Matches != test.want {
				t.Errorf("%s: want it to be asked about: %v, got %v, %v", name, test.want, result.Matches, result.Error)
			}
		}
	})
	t.Run("the controller alone writes Tenants and configurations unasked", func(t *testing.T) {
		// What the object is does not matter to these conditions.
		for who, want := range map[user.Info][]string{
			masters: {tenants, labels, config}, root: {tenants, labels, config}, self: nil,
		} {
			var got []string
			for _, hook := range []string{tenants, labels, config} {
				if matches(t, compiler, hooks[hook], who, admission.Update, "", namespace("x"), namespace("x")) {
					got = append(got, hook)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: unexpected webhooks (-want +got):\n%s", who.GetName(), diff)
			}
		}
	})
}

// sent reports whether the webhook's rules and conditions match the request.
func sent(
	t *testing.T, compiler cel.ConditionCompiler, hook webhook.WebhookAccessor,
	who user.Info, operation admission.Operation, subresource string, old, given *corev1.Namespace,
) bool {
	t.Helper()
	attributes := attributesOf(who, operation, subresource, old, given)
	return slices.ContainsFunc(hook.GetRules(), func(rule admissionregistrationv1.RuleWithOperations) bool {
		return (&rules.Matcher{Rule: rule, Attr: attributes}).Matches()
	}) && matches(t, compiler, hook, who, operation, subresource, old, given)
}

// matches reports whether the webhook's conditions match the request.
func matches(
	t *testing.T, compiler cel.ConditionCompiler, hook webhook.WebhookAccessor,
	who user.Info, operation admission.Operation, subresource string, old, given *corev1.Namespace,
) bool {
	t.Helper()
	attributes := attributesOf(who, operation, subresource, old, given)
	result := hook.GetCompiledMatcher(compiler).Match(t.Context(), attributes, nil, rescuers{"root"})
	if result.Error != nil {
		t.Fatal(result.Error)
	}
	return result.Matches
}

func attributesOf(who user.Info, operation admission.Operation, subresource string, old, given *corev1.Namespace) *admission.VersionedAttributes {
	kind := corev1.SchemeGroupVersion.WithKind("Namespace")
	attributes := &admission.VersionedAttributes{VersionedKind: kind}
	name := ""
	if old != nil {
		name = old.Name
		attributes.VersionedOldObject.Set(old)
	}
	if given != nil {
		name = given.Name
		attributes.VersionedObject.Set(given)
	}
	// The API server has the namespace of a Namespace be itself.
	attributes.Attributes = admission.NewAttributesRecord(nil, nil, kind, name, name,
		corev1.SchemeGroupVersion.WithResource("namespaces"), subresource, operation, nil, false, who)
	return attributes
}
