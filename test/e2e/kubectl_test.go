// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	for command, want := range map[string][][]string{
		"get tenantnamespaces":                                        {header, gas, oil},
		"get tenantnamespace kubectl-oil":                             {header, oil},
		"get tns -o wide":                                             {header, gas, oil},
		"get tenancy":                                                 {header, gas, oil},
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
