// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// tenantNamed returns a Tenant without a spec.
func tenantNamed(name string) *capsulev1beta2.Tenant {
	t := &capsulev1beta2.Tenant{}
	t.Name, t.UID = name, "1"
	return t
}

// settingIn returns a ProxySetting that lets bob list nodes.
func settingIn(namespace, name string) *capsulev1beta1.ProxySetting {
	s := &capsulev1beta1.ProxySetting{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 1, UID: "1"}}
	subject := capsulev1beta2.ProxySubject{ProxySettings: []capsulev1beta2.ProxyOperations{{Kind: "Nodes", Operations: []capsulev1beta2.ProxyOperation{"List"}}}}
	subject.UserSpec = capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}
	s.Spec.Subjects = []capsulev1beta2.ProxySubject{subject}
	return s
}

func TestEventsThatRecompileATenant(t *testing.T) {
	oil, gas := tenantNamed("oil"), tenantNamed("gas")
	inOil, inGas, inNone := owned("ns", oil), owned("ns", gas), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}
	setting, changed := settingIn("ns", "sre"), settingIn("ns", "sre")
	changed.Generation = 2
	another := settingIn("ns", "sre")
	another.UID = "2"
	statusOnly := settingIn("ns", "sre")
	statusOnly.Status.ObservedGeneration = 1
	for name, test := range map[string]struct {
		// given is what the cache holds when the event comes.
		given []client.Object
		// of chooses the handler.
		of            func(*tenantReconciler) handler.EventHandler
		before, after client.Object
		want          []string
	}{
		"a ProxySetting comes":                {given: []client.Object{inOil}, of: (*tenantReconciler).settingHandler, after: setting, want: []string{"oil" + atOnce}},
		"a ProxySetting changes":              {given: []client.Object{inOil}, of: (*tenantReconciler).settingHandler, before: setting, after: changed, want: []string{"oil" + atOnce}},
		"its status changes":                  {given: []client.Object{inOil}, of: (*tenantReconciler).settingHandler, before: setting, after: statusOnly},
		"it is another one":                   {given: []client.Object{inOil}, of: (*tenantReconciler).settingHandler, before: setting, after: another, want: []string{"oil" + atOnce}},
		"a ProxySetting goes":                 {given: []client.Object{inOil}, of: (*tenantReconciler).settingHandler, before: setting, want: []string{"oil" + atOnce}},
		"a ProxySetting of no Tenant":         {given: []client.Object{inNone}, of: (*tenantReconciler).settingHandler, after: setting},
		"a ProxySetting before its namespace": {of: (*tenantReconciler).settingHandler, after: setting},
		"a namespace comes, empty":            {of: (*tenantReconciler).namespaceHandler, after: inOil},
		"a namespace comes after its ProxySetting": {
			given: []client.Object{setting}, of: (*tenantReconciler).namespaceHandler, after: inOil, want: []string{"oil" + atOnce},
		},
		"a namespace with ProxySettings joins":                 {given: []client.Object{setting}, of: (*tenantReconciler).namespaceHandler, before: inNone, after: inOil, want: []string{"oil" + atOnce}},
		"a namespace leaves":                                   {of: (*tenantReconciler).namespaceHandler, before: inOil, after: inNone, want: []string{"oil" + atOnce}},
		"a namespace moves: both are concerned":                {of: (*tenantReconciler).namespaceHandler, before: inOil, after: inGas, want: []string{"gas" + atOnce, "oil" + atOnce}},
		"a namespace goes, its ProxySettings are gone already": {of: (*tenantReconciler).namespaceHandler, before: inOil, want: []string{"oil" + atOnce}},
		"a namespace of no Tenant goes":                        {of: (*tenantReconciler).namespaceHandler, before: inNone},
	} {
		t.Run(name, func(t *testing.T) {
			r := &tenantReconciler{reader: newCluster(t, test.given...)}
			if diff := cmp.Diff(test.want, send(t.Context(), test.of(r), copied(test.before), copied(test.after))); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsOfATenant(t *testing.T) {
	oil, gas := tenantNamed("oil"), tenantNamed("gas")
	earlier := owned("oil-old", oil)
	earlier.OwnerReferences[0].UID = "0"
	unlabelled := owned("oil-un", oil)
	unlabelled.Labels = nil
	f := tenantFinder{newCluster(t, owned("oil-a", oil), owned("oil-b", oil), owned("gas-a", gas), earlier, unlabelled,
		settingIn("oil-a", "one"), settingIn("oil-a", "two"), settingIn("gas-a", "three"), settingIn("oil-old", "four"))}
	changed := oil.DeepCopy()
	changed.Generation = 2
	if diff := cmp.Diff([]string{"oil-a", "oil-b"}, send(t.Context(), f.namespacesHandler(), oil.DeepCopy(), changed.DeepCopy())); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"oil-a", "oil-b"}, send(t.Context(), f.namespacesHandler(), oil.DeepCopy(), nil)); diff != "" {
		t.Errorf("namespaces of a deleted Tenant (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"oil-a/one", "oil-a/two"}, send(t.Context(), f.settingsOfTenantHandler(), oil.DeepCopy(), changed.DeepCopy())); diff != "" {
		t.Errorf("ProxySettings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"oil-a/one", "oil-a/two"}, send(t.Context(), f.settingsInNamespaceHandler(), owned("oil-a", oil), nil)); diff != "" {
		t.Errorf("ProxySettings in a namespace (-want +got):\n%s", diff)
	}
}

func TestEventsOfCompiledObjects(t *testing.T) {
	oil := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{
		Name: oilsRole, Labels: map[string]string{Label: compiled},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Tenant", Name: "oil", UID: "1", Controller: new(true)}},
	}}
	stolen := oil.DeepCopy()
	stolen.OwnerReferences[0].Name = "gas"
	bare := oil.DeepCopy()
	bare.OwnerReferences = nil
	h := compiledHandler(tenantKind.Kind)
	for name, test := range map[string]struct {
		before, after client.Object
		want          []string
	}{
		"comes":            {after: oil, want: []string{"oil"}},
		"changes":          {before: oil, after: oil, want: []string{"oil"}},
		"goes":             {before: oil, want: []string{"oil"}},
		"loses its owner":  {before: oil, after: bare, want: []string{"oil"}},
		"gets another one": {before: oil, after: stolen, want: []string{"gas", "oil"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, send(t.Context(), h, copied(test.before), copied(test.after))); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
	if got := send(t.Context(), compiledHandler(globalKind.Kind), nil, oil); len(got) > 0 {
		t.Errorf("GlobalProxySettings %v are compiled for a Tenant's role", got)
	}
}

func TestEventsOfReaders(t *testing.T) {
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "oil-prod", Name: "capsule:tenant:oil", Labels: map[string]string{Label: namespaceReader}}}
	if diff := cmp.Diff([]string{"oil-prod"}, send(t.Context(), readerHandler(), binding, nil)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	binding.Labels[Label] = compiled
	if got := send(t.Context(), readerHandler(), binding, nil); len(got) > 0 {
		t.Errorf("compiled bindings bring back %v", got)
	}
}

func TestChangesOfMembership(t *testing.T) {
	oil := owned("ns", tenantNamed("oil"))
	for name, test := range map[string]struct {
		change func(*corev1.Namespace)
		want   bool
	}{
		"nothing":          {change: func(*corev1.Namespace) {}},
		"another label":    {change: func(n *corev1.Namespace) { n.Labels["x"] = "y" }},
		"an annotation":    {change: func(n *corev1.Namespace) { n.Annotations = map[string]string{"x": "y"} }},
		"the label":        {change: func(n *corev1.Namespace) { n.Labels[capsulev1beta2.TenantLabel] = "gas" }, want: true},
		"no label":         {change: func(n *corev1.Namespace) { n.Labels = nil }, want: true},
		"the owner":        {change: func(n *corev1.Namespace) { n.OwnerReferences[0].UID = "2" }, want: true},
		"no owner":         {change: func(n *corev1.Namespace) { n.OwnerReferences = nil }, want: true},
		"another one":      {change: func(n *corev1.Namespace) { n.UID = "2" }, want: true},
		"being terminated": {change: func(n *corev1.Namespace) { n.DeletionTimestamp = new(metav1.Now()) }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			changed := oil.DeepCopy()
			test.change(changed)
			if got := changesMembership(event.UpdateEvent{ObjectOld: oil, ObjectNew: changed}); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestChangesOfSpecs(t *testing.T) {
	oil := tenantNamed("oil")
	for name, test := range map[string]struct {
		change func(*capsulev1beta2.Tenant)
		want   bool
	}{
		"status":      {change: func(t *capsulev1beta2.Tenant) { t.ResourceVersion, t.Status.Size = "2", 7 }},
		"spec":        {change: func(t *capsulev1beta2.Tenant) { t.Generation++ }, want: true},
		"another one": {change: func(t *capsulev1beta2.Tenant) { t.UID = "2" }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			changed := oil.DeepCopy()
			test.change(changed)
			if got := changesSpec(event.UpdateEvent{ObjectOld: oil, ObjectNew: changed}); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
