// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/test/framework/controlplane"
)

// AdminConfig returns a config of the administrator.
func (s *System) AdminConfig(tb testing.TB) *rest.Config {
	tb.Helper()
	config, err := s.ControlPlane.AdminConfig()
	require.NoError(tb, err)
	return config
}

// Admin returns a client of the administrator.
func (s *System) Admin(tb testing.TB) kubernetes.Interface {
	tb.Helper()
	client, err := kubernetes.NewForConfig(s.AdminConfig(tb))
	require.NoError(tb, err)
	return client
}

// Config returns a config of any user.
func (s *System) Config(tb testing.TB, user string, groups ...string) *rest.Config {
	tb.Helper()
	config, err := s.ControlPlane.RESTConfig(user, groups...)
	require.NoError(tb, err)
	return config
}

// TokenConfig is Config by a token of the control plane's OpenID Connect issuer.
func (s *System) TokenConfig(tb testing.TB, user string, groups ...string) *rest.Config {
	tb.Helper()
	config, err := s.ControlPlane.TokenConfig(user, groups...)
	require.NoError(tb, err)
	return config
}

// DirectConfig returns a config that asks tenancy-apiserver itself, past the API
// server, without a credential.
func (s *System) DirectConfig(tb testing.TB) *rest.Config {
	tb.Helper()
	return &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: s.ControlPlane.CACert()}, QPS: -1}
}

// DirectConfigOf is DirectConfig with the certificate of a user.
func (s *System) DirectConfigOf(tb testing.TB, user string, groups ...string) *rest.Config {
	tb.Helper()
	config := s.Config(tb, user, groups...)
	config.Host = s.URL
	return config
}

// CreateNamespace makes a namespace that is deleted when the test is over.
func (s *System) CreateNamespace(tb testing.TB, namespace *corev1.Namespace) {
	tb.Helper()
	namespaces := s.Admin(tb).CoreV1().Namespaces()
	_, err := namespaces.Create(tb.Context(), namespace, metav1.CreateOptions{})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		err := namespaces.Delete(context.WithoutCancel(tb.Context()), namespace.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			tb.Errorf("delete namespace %s: %v", namespace.Name, err)
		}
	})
}

// Kubectl is the kubectl of one user.
type Kubectl struct {
	path string
	args []string
}

// Kubectl returns the kubectl of a user, whose kubeconfig names the API server
// and a client certificate and nothing else.
func (s *System) Kubectl(tb testing.TB, user string, groups ...string) *Kubectl {
	tb.Helper()
	kubeconfig, err := s.ControlPlane.Kubeconfig(user, groups...)
	require.NoError(tb, err)
	return newKubectl(tb, kubeconfig)
}

// TokenKubectl is Kubectl by a token of the control plane's OpenID Connect issuer.
func (s *System) TokenKubectl(tb testing.TB, user string, groups ...string) *Kubectl {
	tb.Helper()
	kubeconfig, err := s.ControlPlane.TokenKubeconfig(user, groups...)
	require.NoError(tb, err)
	return newKubectl(tb, kubeconfig)
}

func newKubectl(tb testing.TB, kubeconfig []byte) *Kubectl {
	tb.Helper()
	path, err := controlplane.FindBinary("", "kubectl")
	require.NoError(tb, err)
	dir := tb.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	require.NoError(tb, os.WriteFile(file, kubeconfig, 0o600))
	return &Kubectl{path: path, args: []string{"--kubeconfig", file, "--cache-dir", filepath.Join(dir, "cache")}}
}

// Kubeconfig is the file that says who the user is: other programs may ask by it, too.
func (k *Kubectl) Kubeconfig() string { return k.args[1] }

// Command returns kubectl as a command to start: it is killed when the context
// is done.
func (k *Kubectl) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, k.path, slices.Concat(k.args, args)...)
}

// Run runs kubectl and returns what it wrote.
func (k *Kubectl) Run(tb testing.TB, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	var out, errOut bytes.Buffer
	cmd := k.Command(tb.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Output runs kubectl, which has to succeed, and returns its standard output.
func (k *Kubectl) Output(tb testing.TB, args ...string) string {
	tb.Helper()
	stdout, stderr, err := k.Run(tb, args...)
	require.NoError(tb, err, "kubectl %q: %s", args, stderr)
	return stdout
}
