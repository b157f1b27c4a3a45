// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"

	"tenancy.capsule.io/test/framework"
	"tenancy.capsule.io/test/framework/controlplane"
)

// TestHelm installs a chart as somebody does who has nothing yet but a Tenant.
func TestHelm(t *testing.T) {
	createTenant(t, "oil")
	forEachKubectl(t, func(t *testing.T, kubectl kubectlOf) {
		// Each way has a namespace of its own, none of which is there yet.
		namespace := "oil-web-" + strings.ToLower(filepath.Base(t.Name()))
		alice := kubectl(t, owner, users)
		helm := newHelm(t, alice.Kubeconfig())

		install := []string{"install", "web", filepath.Join("testdata", "chart"), "--namespace=" + namespace}
		// Helm goes on within milliseconds of having made the namespace. The owner is
		// bound there a moment later, so that mostly the first try ends with this.
		_, stderr, err := helm.run(t, append(install, "--create-namespace")...)
		if err != nil {
			require.Contains(t, stderr, `secrets is forbidden: User "alice" cannot create resource "secrets" in API group "" in the namespace "`+namespace+`"`)
			system.AwaitAccess(t, owner, []string{users}, true, authorizationv1.ResourceAttributes{Verb: "create", Resource: "secrets", Namespace: namespace})
			// With the same arguments: the namespace is there already.
			helm.output(t, append(install, "--create-namespace")...)
		}
		compare(t, "objects", []string{
			"configmap/web", "service/web", "deployment.apps/web", "serviceaccount/web", "role.rbac.authorization.k8s.io/web",
		}, strings.Fields(alice.Output(t, "get", "configmap/web", "service/web", "deployment/web", "serviceaccount/web", "role/web", "--namespace="+namespace, "-o", "name")))

		compare(t, "list", []release{{"web", namespace, "1", "deployed"}}, helm.list(t, namespace))
		require.Contains(t, helm.output(t, "status", "web", "--namespace="+namespace), "STATUS: deployed\n")
		helm.output(t, "upgrade", "web", filepath.Join("testdata", "chart"), "--namespace="+namespace, "--set=greeting=bye")
		require.Equal(t, "bye", alice.Output(t, "get", "configmap/web", "--namespace="+namespace, "-o", "jsonpath={.data.greeting}"))
		compare(t, "list", []release{{"web", namespace, "2", "deployed"}}, helm.list(t, namespace))

		require.Equal(t, "release \"web\" uninstalled\n", helm.output(t, "uninstall", "web", "--namespace="+namespace))
		compare(t, "list", []release{}, helm.list(t, namespace))
		require.Empty(t, alice.Output(t, "get", "deployments,services,roles", "--namespace="+namespace, "-o", "name"))

		bob := newHelm(t, kubectl(t, "bob", users).Kubeconfig())
		_, stderr, err = bob.run(t, "install", "web", filepath.Join("testdata", "chart"), "--namespace=oil-bob", "--create-namespace")
		require.Error(t, err)
		require.Contains(t, stderr, "you own no Tenant that namespace \"oil-bob\" could belong to")
	})
}

// helm is that of one user.
type helm struct {
	path string
	env  []string
}

// newHelm returns the Helm of the user of a kubeconfig.
func newHelm(t testing.TB, kubeconfig string) *helm {
	t.Helper()
	root, err := controlplane.RepoRoot()
	require.NoError(t, err)
	path := filepath.Join(root, "bin", "tools", "helm")
	_, err = os.Stat(path)
	require.NoError(t, err, "there is no Helm: run make tools")
	// Nothing of the user who runs the tests.
	return &helm{path, []string{"KUBECONFIG=" + kubeconfig, "HOME=" + t.TempDir()}}
}

// run runs Helm to its end.
func (h *helm) run(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), framework.Eventually)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, h.path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = h.env, &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// output runs Helm, which has to succeed, and returns its standard output.
func (h *helm) output(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, err := h.run(t, args...)
	require.NoError(t, err, "helm %q: %s", args, stderr)
	return stdout
}

// release is what Helm lists of one.
type release struct {
	Name, Namespace, Revision, Status string
}

func (h *helm) list(t testing.TB, namespace string) []release {
	t.Helper()
	var releases []release
	require.NoError(t, json.Unmarshal([]byte(h.output(t, "list", "--namespace="+namespace, "--output=json")), &releases))
	return releases
}
