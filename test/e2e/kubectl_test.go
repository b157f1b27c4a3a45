// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/registry"
)

const (
	eventually = 10 * time.Second
	tick       = 20 * time.Millisecond
)

// bind makes a RoleBinding of the ClusterRole view in a namespace.
func bind(t *testing.T, namespace, name string, subject rbacv1.Subject) {
	t.Helper()
	_, err := system.Admin(t).RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// columnsOf returns the words of kubectl's table without the column AGE.
func columnsOf(output string) [][]string {
	var rows [][]string
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		if len(words) > 2 {
			words = append(words[:2], words[3:]...)
		}
		rows = append(rows, words)
	}
	return rows
}

// TestKubectl is what a tenant does all day, with a kubeconfig that knows nothing
// of this project.
func TestKubectl(t *testing.T) {
	t.Parallel()
	for name, tenant := range map[string]string{"kubectl-oil": "oil", "kubectl-gas": "gas", "kubectl-wind": "wind"} {
		createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{registry.TenantLabel: tenant}}})
	}
	bind(t, "kubectl-oil", "ann", user("kubectl-ann"))
	bind(t, "kubectl-gas", "team", group("kubectl-team"))
	ann := system.Kubectl(t, "kubectl-ann", "kubectl-team")
	ben := system.Kubectl(t, "kubectl-ben", "kubectl-team")

	header := []string{"NAME", "STATUS", "TENANT"}
	oil, gas := []string{"kubectl-oil", "Active", "oil"}, []string{"kubectl-gas", "Active", "gas"}
	require.Eventually(t, func() bool { return len(columnsOf(ann.Output(t, "get", "tns"))) == 3 }, eventually, tick)
	const typed = "tenantnamespace.tenancy.capsule.io/"
	for command, want := range map[string][][]string{
		"get tenancy":                                                 {header, {typed + "kubectl-gas", "Active", "gas"}, {typed + "kubectl-oil", "Active", "oil"}},
		"get tenantnamespaces":                                        {header, gas, oil},
		"get tenantnamespace kubectl-oil":                             {header, oil},
		"get tns -o wide":                                             {header, gas, oil},
		"get tns --no-headers":                                        {gas, oil},
		"get tns -l capsule.clastix.io/tenant=gas":                    {header, gas},
		"get tns --field-selector metadata.name!=kubectl-gas":         {header, oil},
		"get tns --chunk-size=1":                                      {header, gas, oil},
		"get tns -o name":                                             {{"tenantnamespace.tenancy.capsule.io/kubectl-gas"}, {"tenantnamespace.tenancy.capsule.io/kubectl-oil"}},
		"get tns kubectl-oil -o jsonpath={.metadata.labels}{\"\\n\"}": {{`{"capsule.clastix.io/tenant":"oil","kubernetes.io/metadata.name":"kubectl-oil"}`}},
		"get tns --sort-by=.metadata.name -o name":                    {{"tenantnamespace.tenancy.capsule.io/kubectl-gas"}, {"tenantnamespace.tenancy.capsule.io/kubectl-oil"}},
		"auth can-i list tenantnamespaces":                            {{"yes"}},
		"auth can-i get tenantnamespaces":                             {{"yes"}},
		"get ns kubectl-oil --no-headers":                             {{"kubectl-oil", "Active"}},
	} {
		t.Run(command, func(t *testing.T) { require.Equal(t, want, columnsOf(ann.Output(t, strings.Fields(command)...))) })
	}
	require.Equal(t, [][]string{header, gas}, columnsOf(ben.Output(t, "get", "tns")))

	for command, want := range map[string]string{
		"get namespaces":                     "Error from server (Forbidden)",
		"get tns kubectl-wind":               `Error from server (NotFound): tenantnamespaces.tenancy.capsule.io "kubectl-wind" not found`,
		"get tns kubectl-absent":             `Error from server (NotFound): tenantnamespaces.tenancy.capsule.io "kubectl-absent" not found`,
		"delete tns kubectl-oil":             "Error from server (Forbidden)",
		"label tns kubectl-oil a=b":          "Error from server (Forbidden)",
		"get tns --field-selector a=b":       "field label not supported: a",
		"auth can-i delete tenantnamespaces": "",
	} {
		t.Run(command, func(t *testing.T) {
			_, stderr, err := ann.Run(t, strings.Fields(command)...)
			require.Error(t, err)
			require.Contains(t, stderr, want)
		})
	}
	require.Contains(t, ann.Output(t, "explain", "tenantnamespaces.status"), "phase")
	require.Contains(t, ann.Output(t, "explain", "--recursive", "tns"), "resourceVersion")
	require.Contains(t, ann.Output(t, "describe", "tns", "kubectl-oil"), "TenantNamespace")
}

// grantByName lets a user get the object of a name, of every kind.
func grantByName(t *testing.T, userName, objectName string) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: userName}}
	for _, k := range kinds() {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			APIGroups: []string{k.native.Group}, Resources: []string{k.native.Resource}, Verbs: []string{"get"}, ResourceNames: []string{objectName},
		})
	}
	client := system.Admin(t).RbacV1()
	_, err := client.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.ClusterRoles().Delete(context.WithoutCancel(t.Context()), userName, metav1.DeleteOptions{}))
	})
	_, err = client.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: userName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: userName},
		Subjects:   []rbacv1.Subject{user(userName)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.ClusterRoleBindings().Delete(context.WithoutCancel(t.Context()), userName, metav1.DeleteOptions{}))
	})
}

// TestKubectlOfEveryKind is what a tenant sees of all kinds.
func TestKubectlOfEveryKind(t *testing.T) {
	t.Parallel()
	const mine, others = "kubectl-mine", "kubectl-others"
	for _, k := range kinds() {
		k.create(t, k.object(mine, map[string]string{"test": "kubectl", "mine": "true"}))
		k.await(t, k.create(t, k.object(others, map[string]string{"test": "kubectl"})))
	}
	grantByName(t, "kubectl-cid", mine)
	cid := system.Kubectl(t, "kubectl-cid")
	var want []string
	for _, k := range kinds() {
		want = append(want, k.singular+"."+v1alpha1.GroupName+"/"+mine)
	}
	slices.Sort(want)
	all := func(args ...string) []string { return slices.Sorted(strings.FieldsSeq(cid.Output(t, args...))) }
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, want, all("get", "tenancy", "-o", "name")) }, eventually, tick)

	// All kinds at once, by each of the names that a kind has.
	for name, of := range map[string]func(kind) string{
		"plural": func(k kind) string { return k.view.Resource }, "singular": func(k kind) string { return k.singular },
		"short": func(k kind) string { return k.short }, "kind": func(k kind) string { return k.viewKind },
	} {
		var names []string
		for _, k := range kinds() {
			names = append(names, of(k))
		}
		t.Run(name, func(t *testing.T) {
			resources := strings.Join(names, ",")
			require.Equal(t, want, all("get", resources, "-o", "name"))
			require.Equal(t, want, all("get", resources, "-o", "name", "-l", "mine=true"))
			require.Empty(t, all("get", resources, "-o", "name", "-l", "test=kubectl,!mine"))
		})
	}
	forEveryKind(t, func(t *testing.T, k kind) {
		rows := columnsOf(cid.Output(t, "get", k.short, "-l", "test=kubectl"))
		require.Len(t, rows, 2)
		require.Equal(t, "NAME", rows[0][0])
		require.Equal(t, mine, rows[1][0])
		_, stderr, err := cid.Run(t, "get", k.short, others)
		require.Error(t, err)
		require.Contains(t, stderr, "Error from server (NotFound): "+k.view.GroupResource().String()+` "`+others+`" not found`)
		_, stderr, err = cid.Run(t, "get", k.native.GroupResource().String())
		require.Error(t, err)
		require.Contains(t, stderr, "Error from server (Forbidden)")
		explained := cid.Output(t, "explain", "--recursive", k.short)
		require.Contains(t, explained, "KIND:       "+k.viewKind+"\n")
		require.Contains(t, explained, "resourceVersion")
		require.Contains(t, cid.Output(t, "describe", k.short, mine), k.viewKind)
	})
}

// compareWide compares what the administrator's kubectl prints of native objects
// and of their views, ages included: it asks for both at once, or these differ.
func (k kind) compareWide(t *testing.T, selector string) {
	t.Helper()
	admin := system.Kubectl(t, "admin", "system:masters")
	resources := k.native.GroupResource().String() + "," + k.view.GroupResource().String()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var native, view []string
		for line := range strings.Lines(admin.Output(t, "get", resources, "-o", "wide", "--no-headers", "-l", selector)) {
			resource, row, found := strings.Cut(strings.TrimRight(line, " \n"), "/")
			switch {
			case !found: // between the tables
			case strings.HasSuffix(resource, v1alpha1.GroupName):
				view = append(view, row)
			default:
				native = append(native, row)
			}
		}
		require.Len(t, view, len(native))
		for i := range view {
			if strings.HasPrefix(view[i], native[i]+" ") {
				view[i] = native[i] // the last column is Tenant
			}
		}
		assert.Equal(c, native, view)
	}, eventually, tick)
}

// TestKubectlOfNativeKinds holds that the definitions that the views bring do not
// stand in the way of the native ones, of which they have copies.
func TestKubectlOfNativeKinds(t *testing.T) {
	t.Parallel()
	admin := system.Kubectl(t, "admin", "system:masters")
	for path, want := range map[string]string{
		"node.spec": "unschedulable", "node.status.nodeInfo": "kubeletVersion", "pv.spec.claimRef": "namespace", "sc": "provisioner",
		"ingressclass.spec.parameters": "scope", "pc": "globalDefault", "runtimeclass.overhead": "podFixed", "namespace.status": "phase",
		"pod.spec.containers": "image",
	} {
		t.Run(path, func(t *testing.T) {
			require.Contains(t, admin.Output(t, "explain", path), want)
			require.Contains(t, admin.Output(t, "explain", "--recursive", path), want)
		})
	}
	file := filepath.Join(t.TempDir(), "class.yaml")
	manifest := "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: kubectl-apply}, provisioner: example.com/a, parameters: {%s: b}}"
	t.Cleanup(func() {
		_ = system.Admin(t).StorageV1().StorageClasses().Delete(context.WithoutCancel(t.Context()), "kubectl-apply", metav1.DeleteOptions{})
	})
	for _, flags := range [][]string{{"--server-side"}, {"--server-side", "--field-manager=kubectl"}, {"--validate=strict"}} {
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, manifest, "a"), 0o600))
		admin.Output(t, slices.Concat([]string{"apply", "-f", file}, flags)...)
	}
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(fmt.Sprintf(manifest, "a"), "provisioner:", "bogus: a, provisioner:")), 0o600))
	_, stderr, err := admin.Run(t, "apply", "-f", file)
	require.Error(t, err)
	require.Contains(t, stderr, "unknown field \"bogus\"")
}
