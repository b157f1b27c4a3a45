// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	"sigs.k8s.io/yaml"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
)

// metadataPolicy returns the policy for labels and annotations of objects, as the API
// server completes it, and its binding.
func metadataPolicy(t *testing.T) (*admissionregistrationv1.MutatingAdmissionPolicy, *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS("../../artifacts/base/policies"), "metadata.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policy, binding := &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for _, into := range []any{policy, binding} {
		document, err := documents.Read()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := documents.Read(); !errors.Is(err, io.EOF) {
		t.Fatalf("want one policy and one binding: %v", err)
	}
	policy.Spec.MatchConstraints.MatchPolicy = new(admissionregistrationv1.Equivalent)
	policy.Spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{}
	return policy, binding
}

// withSchemas is a client whose server publishes the schemas of Kubernetes' kinds.
type withSchemas struct{ *fake.Clientset }

func (c withSchemas) Discovery() discovery.DiscoveryInterfaces {
	return schemas{c.Clientset.Discovery()}
}

type schemas struct{ discovery.DiscoveryInterfaces }

func (schemas) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

// metadataPlugin returns the API server's own plugin, in a cluster of the policy, the
// namespaces and what is compiled for them.
func metadataPlugin(t *testing.T, given ...runtime.Object) *mutating.Plugin {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := policyv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	policy, binding := metadataPolicy(t)
	native, params := []runtime.Object{policy, binding}, []runtime.Object{}
	for _, object := range given {
		if param, ok := object.(*policyv1alpha1.NamespacePolicy); ok {
			params = append(params, param)
		} else {
			native = append(native, object)
		}
	}
	client := withSchemas{fake.NewClientset(native...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(policyv1alpha1.SchemeGroupVersion.WithKind("NamespacePolicy"), meta.RESTScopeNamespace)
	plugin, err := mutating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	initializer.New(client, dynamicfake.NewSimpleDynamicClient(scheme, params...), factory, authorizerfactory.NewAlwaysAllowAuthorizer(),
		utilfeature.DefaultFeatureGate, compatibility.DefaultBuildEffectiveVersion(), t.Context().Done(), mapper).Initialize(plugin)
	if err := plugin.ValidateInitialization(); err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	t.Cleanup(factory.Shutdown)
	return plugin
}

// written makes an object what the plugin makes of it, and reports whether it was
// touched at all.
func written[T interface {
	runtime.Object
	metav1.Object
}](t *testing.T, plugin *mutating.Plugin, operation admission.Operation, resource, subresource string, object T) (touched bool) {
	t.Helper()
	kinds, _, err := clientgoscheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	attributes := admission.NewAttributesRecord(object, nil, kinds[0], object.GetNamespace(), object.GetName(),
		kinds[0].GroupVersion().WithResource(resource), subresource, operation, nil, false, &user.DefaultInfo{Name: "alice"})
	// It takes a moment until the plugin knows the schemas.
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := plugin.Admit(ctx, attributes, admission.NewObjectInterfacesFromScheme(clientgoscheme.Scheme))
		if apierrors.IsServiceUnavailable(err) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return attributes.GetReinvocationContext().ShouldReinvoke()
}

// TestObjectMetadata has the API server's own plugin judge what is written.
func TestObjectMetadata(t *testing.T) {
	type values = map[string]string
	namespace := func(name, tenant string) *corev1.Namespace {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if tenant != "" {
			n.Labels = values{capsulev1beta2.TenantLabel: tenant}
		}
		return n
	}
	param := func(namespace, name string, spec policyv1alpha1.NamespacePolicySpec) *policyv1alpha1.NamespacePolicy {
		return &policyv1alpha1.NamespacePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	}
	both := policyv1alpha1.NamespacePolicySpec{
		PodMetadata:     policyv1alpha1.ObjectMetadata{Labels: values{"team": "oil", "example.com/a~b": "1"}, Annotations: values{"note": "a \"b\"\nc"}},
		ServiceMetadata: policyv1alpha1.ObjectMetadata{Annotations: values{"example.com/pool": "oil"}},
	}
	plugin := metadataPlugin(t,
		namespace("oil-prod", "oil"), param("oil-prod", policyv1alpha1.NamespacePolicyName, both),
		namespace("wind-prod", "wind"), param("wind-prod", "other", both),
		namespace("default", ""), param("default", policyv1alpha1.NamespacePolicyName, both),
	)
	pod := func(namespace string, labels, annotations values) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x", Labels: maps.Clone(labels), Annotations: maps.Clone(annotations)},
			// Where a merge by the schema would have to know which one is meant.
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "A"}, {Name: "A"}}}}},
		}
	}
	wantLabels, wantAnnotations := values{"team": "oil", "example.com/a~b": "1"}, values{"note": "a \"b\"\nc"}
	for name, test := range map[string]struct {
		operation   admission.Operation
		subresource string
		given, want *corev1.Pod
	}{
		"a new pod": {given: pod("oil-prod", nil, nil), want: pod("oil-prod", wantLabels, wantAnnotations)},
		"what it has of its own stays": {
			given: pod("oil-prod", values{"app": "a"}, values{"mine": "b"}),
			want:  pod("oil-prod", values{"app": "a", "team": "oil", "example.com/a~b": "1"}, values{"mine": "b", "note": "a \"b\"\nc"}),
		},
		"other values": {given: pod("oil-prod", values{"team": "x"}, values{"note": "y"}), want: pod("oil-prod", wantLabels, wantAnnotations)},
		"taken off":    {operation: admission.Update, given: pod("oil-prod", values{"team": "oil"}, nil), want: pod("oil-prod", wantLabels, wantAnnotations)},
		"as it should be": {
			operation: admission.Update, given: pod("oil-prod", wantLabels, wantAnnotations), want: pod("oil-prod", wantLabels, wantAnnotations),
		},
		"its status":               {operation: admission.Update, subresource: "status", given: pod("oil-prod", nil, nil), want: pod("oil-prod", nil, nil)},
		"of a tenant without":      {given: pod("wind-prod", nil, nil), want: pod("wind-prod", nil, nil)},
		"in a namespace of nobody": {given: pod("default", nil, nil), want: pod("default", nil, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			if test.operation == "" {
				test.operation = admission.Create
			}
			before := test.given.DeepCopy()
			touched := written(t, plugin, test.operation, "pods", test.subresource, test.given)
			if changes := !cmp.Equal(before.ObjectMeta, test.want.ObjectMeta); touched != changes {
				t.Errorf("want it to be touched: %v", changes)
			}
			if diff := cmp.Diff(test.want, test.given, cmpopts.IgnoreTypes(metav1.TypeMeta{}), onlyMetadataAndEnv); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("Services and EndpointSlices", func(t *testing.T) {
		metadata := metav1.ObjectMeta{Namespace: "oil-prod", Name: "x", Labels: values{"team": "x"}}
		want := values{"example.com/pool": "oil"}
		service, slice := &corev1.Service{ObjectMeta: *metadata.DeepCopy()}, &discoveryv1.EndpointSlice{ObjectMeta: *metadata.DeepCopy()}
		written(t, plugin, admission.Create, "services", "", service)
		written(t, plugin, admission.Update, "endpointslices", "", slice)
		for _, object := range []metav1.Object{service, slice} {
			if diff := cmp.Diff([]values{{"team": "x"}, want}, []values{object.GetLabels(), object.GetAnnotations()}); diff != "" {
				t.Errorf("%T: labels, annotations (-want +got):\n%s", object, diff)
			}
		}
	})
	t.Run("nothing else", func(t *testing.T) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "oil-prod", Name: "x"}}
		if written(t, plugin, admission.Create, "configmaps", "", object) {
			t.Errorf("a ConfigMap was touched: %+v", object.ObjectMeta)
		}
	})
}

// onlyMetadataAndEnv leaves out what the API server defaults.
var onlyMetadataAndEnv = cmp.Transformer("env", func(spec corev1.PodSpec) [][]corev1.EnvVar {
	var env [][]corev1.EnvVar
	for i := range spec.Containers {
		env = append(env, spec.Containers[i].Env)
	}
	return env
})
