// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func clientFor(t testing.TB, config *rest.Config, err error) *kubernetes.Clientset {
	t.Helper()
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

func admin(t testing.TB, cp *ControlPlane) *kubernetes.Clientset {
	t.Helper()
	config, err := cp.AdminConfig()
	return clientFor(t, config, err)
}

func createNamespace(t testing.TB, cp *ControlPlane, name string) {
	t.Helper()
	_, err := admin(t, cp).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

func hasNamespace(t testing.TB, cp *ControlPlane, name string) bool {
	t.Helper()
	_, err := admin(t, cp).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(t, err)
	}
	return err == nil
}

// requireGone asserts that none of the recorded processes is alive.
func requireGone(t testing.TB, st state) {
	t.Helper()
	require.Len(t, st.Processes, 3)
	for _, process := range st.Processes {
		assert.False(t, process.alive(), "%s (pid %d) is alive", process.Name, process.PID)
	}
}

// requireAlive returns the record of a running control plane.
func requireAlive(t testing.TB, dir string) state {
	t.Helper()
	st, err := readState(dir)
	require.NoError(t, err)
	require.Len(t, st.Processes, 3)
	for _, process := range st.Processes {
		require.True(t, process.alive(), "%s (pid %d) is not alive", process.Name, process.PID)
	}
	return st
}

func TestSideBySide(t *testing.T) {
	var planes [2]*ControlPlane
	var group errgroup.Group
	for i := range planes {
		dir := t.TempDir()
		group.Go(func() (err error) {
			planes[i], err = Start(t.Context(), Config{Dir: dir})
			return err
		})
	}
	err := group.Wait()
	for _, cp := range planes {
		if cp != nil {
			t.Cleanup(func() { assert.NoError(t, cp.Stop()) })
		}
	}
	require.NoError(t, err)
	one, other := planes[0], planes[1]

	createNamespace(t, one, "oil-prod")
	createNamespace(t, other, "gas-prod")
	assert.True(t, hasNamespace(t, one, "oil-prod"))
	assert.False(t, hasNamespace(t, one, "gas-prod"))
	assert.True(t, hasNamespace(t, other, "gas-prod"))
	assert.False(t, hasNamespace(t, other, "oil-prod"))

	t.Run("a signed user is known and may do nothing", func(t *testing.T) {
		data, err := one.Kubeconfig("alice", "capsule.clastix.io")
		require.NoError(t, err)
		config, err := clientcmd.RESTConfigFromKubeConfig(data)
		_, err = clientFor(t, config, err).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, `User "alice" cannot list resource "namespaces"`)
	})

	t.Run("a user of one is nobody in the other", func(t *testing.T) {
		config, err := one.AdminConfig()
		require.NoError(t, err)
		config.Host, config.CAData = other.Server(), other.CACert()
		_, err = clientFor(t, config, nil).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsUnauthorized(err), "%v", err)
	})

	t.Run("tokens", func(t *testing.T) { testTokens(t, one, other) })

	t.Run("controllers work and the audit log is written", func(t *testing.T) {
		eventually(t, "no service account in oil-prod", func(ctx context.Context) bool {
			_, err := admin(t, one).CoreV1().ServiceAccounts("oil-prod").Get(ctx, "default", metav1.GetOptions{})
			return err == nil
		})
		audit, err := os.ReadFile(one.AuditLog())
		require.NoError(t, err)
		require.Contains(t, string(audit), `"name":"oil-prod"`)
	})

	t.Run("a second supervisor is kept out", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: one.config.Dir})
		require.ErrorIs(t, err, ErrAlreadyRunning)
		require.ErrorIs(t, Destroy(t.Context(), one.config.Dir), ErrAlreadyRunning)
	})

	t.Run("another process finds the issuer", func(t *testing.T) {
		issuer, err := OpenIssuer(one.config.Dir)
		require.NoError(t, err)
		config, err := issuer.AdminConfig()
		_, err = clientFor(t, config, err).CoreV1().Namespaces().Get(t.Context(), "oil-prod", metav1.GetOptions{})
		require.NoError(t, err)
	})

	t.Run("the API server keeps port and data over kill and restart", func(t *testing.T) {
		server, pid := one.Server(), one.APIServer().PID()
		require.NoError(t, one.APIServer().Kill())
		require.False(t, one.APIServer().Running())
		require.NoError(t, one.APIServer().Start(t.Context()))
		require.NotEqual(t, pid, one.APIServer().PID())
		require.True(t, hasNamespace(t, one, "oil-prod"))
		require.NoError(t, one.APIServer().Restart(t.Context()))
		require.True(t, hasNamespace(t, one, "oil-prod"))
		require.Equal(t, server, one.Server())
	})

	t.Run("stop, start again with the data, destroy", func(t *testing.T) {
		dir := other.config.Dir
		before := requireAlive(t, dir)
		issuer, token := other.TokenIssuer(), newToken(t, other.Issuer, userDev, groupDev)
		require.NoError(t, other.Stop())
		require.NoError(t, other.Stop(), "stop is idempotent")
		requireGone(t, before)
		_, err := OpenIssuer(dir)
		require.ErrorIs(t, err, ErrNotRunning)
		_, err = other.AddProcess(t.Context(), ProcessSpec{Name: "late", Path: "/bin/true"})
		require.ErrorIs(t, err, ErrNotRunning)

		again := start(t, Config{Dir: dir})
		require.True(t, hasNamespace(t, again, "gas-prod"))
		require.Equal(t, issuer, again.TokenIssuer())
		requireUser(t, withToken(again.Issuer, token), userDev, groupDev)
		require.NoError(t, again.Stop())
		require.NoError(t, Destroy(t.Context(), dir))
		require.NoDirExists(t, dir)
	})
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	helper := startHelper(t, dir)
	before := requireAlive(t, dir)
	require.Equal(t, helper.Process.Pid, before.Supervisor.PID)
	_, err := Start(t.Context(), Config{Dir: dir})
	require.ErrorIs(t, err, ErrAlreadyRunning)
	issuer, err := OpenIssuer(dir)
	require.NoError(t, err)
	token := newToken(t, issuer, userDev, groupDev)
	requireUser(t, withToken(issuer, token), userDev, groupDev)

	require.NoError(t, helper.Process.Kill())
	require.Error(t, helper.Wait())

	cp := start(t, Config{Dir: dir})
	requireGone(t, before)
	requireUser(t, withToken(cp.Issuer, token), userDev, groupDev)
	createNamespace(t, cp, "oil-prod")
	after := requireAlive(t, dir)
	require.NoError(t, cp.Stop())
	requireGone(t, after)
}

func TestTerminateEndsAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	helper := startHelper(t, dir)
	before := requireAlive(t, dir)
	// The helper does not handle SIGTERM: it ends at once, its children too.
	done := make(chan error, 1)
	go func() { done <- helper.Wait() }()
	require.NoError(t, Terminate(t.Context(), dir, 10*time.Second))
	requireGone(t, before)
	require.Error(t, <-done)
	require.NoError(t, Terminate(t.Context(), dir, 10*time.Second), "terminate is idempotent")
	require.NoError(t, Destroy(t.Context(), dir))
}

func TestMissingBinaries(t *testing.T) {
	_, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "cp"), BinDir: t.TempDir()})
	require.ErrorContains(t, err, "run make controlplane")

	// Assets without a controller manager: that one comes from the repository.
	assets := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(assets, etcdName), nil, 0o700)) //nolint:gosec // an executable
	t.Setenv(assetsEnv, assets)
	path, err := FindBinary("", etcdName)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(assets, etcdName), path)
	path, err = FindBinary("", controllerManagerName)
	require.NoError(t, err)
	require.Equal(t, filepath.Join("bin", "k8s", controllerManagerName), path[len(path)-len("bin/k8s/")-len(controllerManagerName):])
}

func TestStartFailureHasLog(t *testing.T) {
	dir := t.TempDir()
	_, err := Start(t.Context(), Config{Dir: dir, ExtraAPIServerArgs: []string{"--no-such-flag"}})
	require.ErrorContains(t, err, "kube-apiserver ended: exit status 1")
	require.ErrorContains(t, err, "unknown flag: --no-such-flag")
	st, err := readState(dir)
	require.NoError(t, err)
	require.Empty(t, st.Processes)
}
