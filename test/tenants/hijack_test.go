// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// TestHijack tries to take namespaces, and to move own ones. The attacker may write
// namespaces, their status and finalize as far as RBAC is concerned: what refuses is
// the webhook.
func TestHijack(t *testing.T) {
	t.Parallel()
	const attacker = "hijack-eve"
	mine := createTenant(t, "hijack-a", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner(attacker)}})
	theirs := createTenant(t, "hijack-b", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("hijack-bob")}})
	createNamespace(t, attacker, "hijack-a-1")
	createNamespace(t, "hijack-bob", "hijack-b-1")
	createFree(t, "hijack-free")
	c := admin(t)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "tests:hijack"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"namespaces", "namespaces/status", "namespaces/finalize"}, Verbs: []string{"*"},
	}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "tests:hijack"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tests:hijack"},
		Subjects:   []rbacv1.Subject{subject(rbacv1.UserKind, attacker)},
	}
	for _, object := range []client.Object{role, binding} {
		require.NoError(t, c.Create(t.Context(), object))
		t.Cleanup(func() { require.NoError(t, c.Delete(context.WithoutCancel(t.Context()), object)) })
	}
	awaitAccess(t, attacker, true, authorizationv1.ResourceAttributes{Verb: "update", Resource: "namespaces", Subresource: "finalize", Name: "kube-system"})

	reference := func(tenant *capsulev1beta2.Tenant) string {
		return fmt.Sprintf(`{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","name":%q,"uid":%q}`, tenant.Name, tenant.UID)
	}
	metadata := func(label, owners string) string {
		return fmt.Sprintf(`{"metadata":{"labels":{"capsule.clastix.io/tenant":%s},"ownerReferences":%s}}`, label, owners)
	}
	const harmless = `{"metadata":{"labels":{"harmless":"true"}}}`
	labelOnly := func(value string) string {
		return fmt.Sprintf(`{"metadata":{"labels":{"capsule.clastix.io/tenant":%s}}}`, value)
	}
	ownersOnly := func(owners string) string { return fmt.Sprintf(`{"metadata":{"ownerReferences":%s}}`, owners) }
	patch := func(namespace, patch string, flags ...string) []string {
		return append([]string{"patch", "namespace", namespace, "--type=merge", "-p", patch}, flags...)
	}
	finalize := func(namespace, metadata string) []string {
		file := writeFile(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q,%s},"spec":{"finalizers":["kubernetes"]}}`, namespace, metadata))
		return []string{"replace", "--raw", "/api/v1/namespaces/" + namespace + "/finalize", "-f", file}
	}
	const toStatus = "--subresource=status"
	both, bothTheirs := metadata(`"hijack-a"`, "["+reference(mine)+"]"), metadata(`"hijack-b"`, "["+reference(theirs)+"]")

	// unchanged holds that all of the namespaces say what they said before.
	all := []string{"hijack-a-1", "hijack-b-1", "hijack-free", "kube-system", "default", "tenancy-system"}
	claims := func() map[string]metav1.ObjectMeta {
		t.Helper()
		claims := map[string]metav1.ObjectMeta{}
		for _, name := range all {
			namespace := &corev1.Namespace{}
			require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, namespace))
			claims[name] = metav1.ObjectMeta{Labels: namespace.Labels, OwnerReferences: namespace.OwnerReferences, Finalizers: namespace.Finalizers}
		}
		return claims
	}
	before := claims()
	unchanged := func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, claims(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("namespaces were changed (-want +got):\n%s", diff)
		}
	}

	kubectl := system.Kubectl(t, attacker, users)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"own, to another tenant":           {patch("hijack-a-1", bothTheirs), `stays in tenant "hijack-a"`},
		"own, out of its tenant":           {patch("hijack-a-1", metadata("null", "null")), `cannot leave tenant "hijack-a"`},
		"own, label by status":             {patch("hijack-a-1", labelOnly("null"), toStatus), `stays in tenant "hijack-a"`},
		"own, owner by status":             {patch("hijack-a-1", ownersOnly("[]"), toStatus), `stays in tenant "hijack-a"`},
		"own, to another tenant by status": {patch("hijack-a-1", bothTheirs, toStatus), `stays in tenant "hijack-a"`},
		"own, out by finalize":             {finalize("hijack-a-1", `"labels":{}`), "stay as they are"},
		"theirs, harmlessly":               {patch("hijack-b-1", harmless), "not a namespace of a Tenant that you own"},
		"theirs, into mine":                {patch("hijack-b-1", both), "not a namespace of a Tenant that you own"},
		"theirs, out":                      {patch("hijack-b-1", metadata("null", "null")), "not a namespace of a Tenant that you own"},
		"theirs, by status":                {patch("hijack-b-1", both, toStatus), "not a namespace of a Tenant that you own"},
		"theirs, by finalize":              {finalize("hijack-b-1", `"labels":{"capsule.clastix.io/tenant":"hijack-a"}`), "stay as they are"},
		"free, harmlessly":                 {patch("hijack-free", harmless), "belongs to no tenant"},
		"free, by label":                   {patch("hijack-free", labelOnly(`"hijack-a"`)), "cannot be taken into a tenant"},
		"free, by owner":                   {patch("hijack-free", ownersOnly("["+reference(mine)+"]")), "cannot be taken into a tenant"},
		"free, by both":                    {patch("hijack-free", both), "cannot be taken into a tenant"},
		"free, by both of an old version": {patch("hijack-free", metadata(`"hijack-a"`,
			fmt.Sprintf(`[{"apiVersion":"capsule.clastix.io/v1beta1","kind":"Tenant","name":"hijack-a","uid":%q}]`, mine.UID))), "cannot be taken into a tenant"},
		"free, by status":          {patch("hijack-free", both, toStatus), "cannot be taken into a tenant"},
		"free, by label of status": {patch("hijack-free", labelOnly(`"hijack-a"`), toStatus), "cannot be taken into a tenant"},
		"free, by finalize": {finalize("hijack-free", `"labels":{"capsule.clastix.io/tenant":"hijack-a"},"ownerReferences":[`+reference(mine)+`]`),
			"stay as they are"},
		"free, as a dry run":    {patch("hijack-free", both, "--dry-run=server"), "cannot be taken into a tenant"},
		"free, JSON patch":      {[]string{"patch", "namespace", "hijack-free", "--type=json", "-p", `[{"op":"add","path":"/metadata/labels/capsule.clastix.io~1tenant","value":"hijack-a"}]`}, "cannot be taken into a tenant"},
		"free, kubectl label":   {[]string{"label", "namespace", "hijack-free", "capsule.clastix.io/tenant=hijack-a"}, "cannot be taken into a tenant"},
		"kube-system":           {patch("kube-system", both), "cannot be taken into a tenant"},
		"kube-system, status":   {patch("kube-system", both, toStatus), "cannot be taken into a tenant"},
		"kube-system, harmless": {patch("kube-system", harmless), "belongs to no tenant"},
		"default":               {patch("default", both), "cannot be taken into a tenant"},
		"the controller's own":  {patch("tenancy-system", both), "cannot be taken into a tenant"},
		"ours, harmlessly":      {patch("tenancy-system", harmless), "belongs to no tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			stderr := requireRefused(t, kubectl, test.want, test.args...)
			require.Contains(t, stderr, "Forbidden")
			unchanged(t)
		})
	}
	t.Run("kubectl edit", func(t *testing.T) {
		for namespace, script := range map[string]string{"hijack-a-1": "s/hijack-a$/hijack-b/", "hijack-free": "s/^  labels:/  labels:\\n    capsule.clastix.io\\/tenant: hijack-a/"} {
			cmd := kubectl.Command(t.Context(), "edit", "namespace", namespace)
			cmd.Env = append(os.Environ(), "KUBE_EDITOR=sed -i '"+script+"'")
			out, err := cmd.CombinedOutput()
			// In the own namespace the label is put back, in the other it is refused.
			if namespace == "hijack-free" {
				require.Error(t, err, string(out))
				require.Contains(t, string(out), "cannot be taken into a tenant")
			}
			unchanged(t)
		}
	})
	// What leaves no doubt which tenant is meant is put back, with a warning.
	for name, args := range map[string][]string{
		"no label":        patch("hijack-a-1", labelOnly("null")),
		"another label":   patch("hijack-a-1", labelOnly(`"hijack-b"`)),
		"an absent label": patch("hijack-a-1", labelOnly(`"absent"`)),
		"no owner":        patch("hijack-a-1", ownersOnly("null")),
		"one owner more":  patch("hijack-a-1", ownersOnly("["+reference(mine)+","+reference(theirs)+"]")),
		"another owner":   patch("hijack-a-1", ownersOnly("["+reference(theirs)+"]")),
		"a controller":    patch("hijack-a-1", ownersOnly(fmt.Sprintf(`[{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","name":"hijack-a","uid":%q,"controller":true}]`, mine.UID))),
		"another version": patch("hijack-a-1", ownersOnly(fmt.Sprintf(`[{"apiVersion":"capsule.clastix.io/v1beta1","kind":"Tenant","name":"hijack-a","uid":%q}]`, mine.UID))),
	} {
		t.Run("put back/"+name, func(t *testing.T) {
			kubectl.Output(t, args...)
			unchanged(t)
		})
	}
	// An administrator of the cluster who is none of the configuration leaves
	// namespaces where they are, and changes all else.
	other := system.Kubectl(t, clusterAdmin)
	for name, args := range map[string][]string{
		"in": patch("hijack-free", both), "out": patch("hijack-a-1", metadata("null", "null")), "label": patch("hijack-a-1", labelOnly("null")),
		"over": patch("hijack-a-1", bothTheirs), "in by status": patch("hijack-free", both, toStatus), "out by status": patch("hijack-a-1", metadata("null", "null"), toStatus),
	} {
		t.Run("cluster administrator/"+name, func(t *testing.T) {
			requireRefused(t, other, forbidden, args...)
			unchanged(t)
		})
	}
	other.Output(t, patch("hijack-a-1", harmless)...)
	other.Output(t, patch("hijack-free", harmless)...)
	before = claims()

	// The administrators are told, once for each user's attempts on a Tenant.
	for _, tenant := range []string{"hijack-a", "hijack-b"} {
		awaitEvent(t, tenant, "ReasonNamespacePatch", "refused to ")
	}
}
