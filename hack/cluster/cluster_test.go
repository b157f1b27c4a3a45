// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"tenancy.capsule.io/test/framework/deployment"
)

// cluster runs the command as a user does, and returns what it printed.
func cluster(t testing.TB, l deployment.Layout, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--run-dir", l.Run}, args...))
	err := cmd.ExecuteContext(t.Context())
	t.Logf("cluster %s: %v\n%s", strings.Join(args, " "), err, out.String())
	return out.String(), err
}

// newTestLayout ends what a test started, however it ends.
func newTestLayout(t *testing.T) deployment.Layout {
	t.Helper()
	t.Setenv(helperEnv, "1")
	l, err := deployment.NewLayout(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, down(context.WithoutCancel(t.Context()), l, printer{io.Discard})) })
	return l
}

func currentStatus(t testing.TB, l deployment.Layout) status {
	t.Helper()
	var st status
	require.NoError(t, call(t.Context(), l, "GET", statusPath, nil, &st))
	return st
}

// pids returns all processes on record, by name.
func pids(t testing.TB, l deployment.Layout) map[string]int {
	t.Helper()
	type process struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	}
	var state struct {
		Supervisor process   `json:"supervisor"`
		Processes  []process `json:"processes"`
	}
	data, err := os.ReadFile(filepath.Join(l.ControlPlane(), "state.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &state))
	found := map[string]int{}
	for _, p := range append(state.Processes, state.Supervisor) {
		found[p.Name] = p.PID
	}
	return found
}

func requireGone(t testing.TB, pids map[string]int) {
	t.Helper()
	for name, pid := range pids {
		// One that is only waiting to be reaped has no command line any more.
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		assert.False(t, err == nil && len(data) > 0, "%s (pid %d) is alive", name, pid)
	}
}

func clientOf(t testing.TB, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

func TestControlPlaneOnly(t *testing.T) {
	l := newTestLayout(t)
	out, err := cluster(t, l, "up", "--control-plane-only")
	require.NoError(t, err)
	require.Contains(t, out, l.Kubeconfig("alice"))
	first := pids(t, l)
	require.Len(t, first, 4)

	_, err = clientOf(t, l.Kubeconfig("alice")).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, `User "alice"`)
	_, err = clientOf(t, l.Kubeconfig("admin")).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil-prod"}}, metav1.CreateOptions{})
	require.NoError(t, err)

	t.Run("up again changes nothing", func(t *testing.T) {
		before, err := os.ReadFile(l.Kubeconfig("alice"))
		require.NoError(t, err)
		_, err = cluster(t, l, "up", "--control-plane-only")
		require.NoError(t, err)
		require.Equal(t, first, pids(t, l))
		after, err := os.ReadFile(l.Kubeconfig("alice"))
		require.NoError(t, err)
		require.Equal(t, before, after)
	})

	t.Run("up on another port is refused", func(t *testing.T) {
		server, err := url.Parse(currentStatus(t, l).URL)
		require.NoError(t, err)
		_, err = cluster(t, l, "up", "--control-plane-only", "--apiserver-port", server.Port())
		require.NoError(t, err)
		_, err = cluster(t, l, "up", "--control-plane-only", "--apiserver-port", "6")
		require.EqualError(t, err, fmt.Sprintf("the control plane runs on port %s, not 6: run make down first", server.Port()))
	})

	t.Run("kubeconfig for any user", func(t *testing.T) {
		name := "system:serviceaccount:oil-prod:ci"
		out, err := cluster(t, l, "kubeconfig", name, "system:serviceaccounts", "dev")
		require.NoError(t, err)
		file := strings.TrimSpace(out)
		require.Equal(t, l.Kubeconfig(name), file)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		_, err = clientOf(t, file).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.ErrorContains(t, err, `User "`+name+`" cannot list`)
	})

	t.Run("kubeconfig with a token", func(t *testing.T) {
		name, groups := "capsule-user-dev@example.com", []string{"03c9ccac-5b1e-4a51-9d0b-6a3f2a9d3f10", "0fd5e5bb-39bb-468c-b343-dcdfb01e92d0"}
		out, err := cluster(t, l, append([]string{"kubeconfig", "--oidc", "--", name}, groups...)...)
		require.NoError(t, err)
		file := strings.TrimSpace(out)
		require.Equal(t, l.Kubeconfig(name), file)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		config, err := clientcmd.BuildConfigFromFlags("", file)
		require.NoError(t, err)
		require.NotEmpty(t, config.BearerToken)
		require.Empty(t, config.CertData)
		review, err := clientOf(t, file).AuthenticationV1().SelfSubjectReviews().Create(t.Context(),
			&authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.Equal(t, name, review.Status.UserInfo.Username)
		require.Equal(t, append(groups, "system:authenticated"), review.Status.UserInfo.Groups)
	})

	t.Run("up after the supervisor was killed", func(t *testing.T) {
		require.NoError(t, syscall.Kill(first["supervisor"], syscall.SIGKILL))
		eventually(t, "no end of the supervisor", func() bool {
			return errors.Is(call(t.Context(), l, "GET", statusPath, nil, &status{}), errNoSupervisor)
		})
		_, err := cluster(t, l, "kubeconfig", "carol")
		require.EqualError(t, err, "the control plane is not running: run make up")
		_, err = cluster(t, l, "up", "--control-plane-only")
		require.NoError(t, err)
		requireGone(t, first)
		_, err = clientOf(t, l.Kubeconfig("admin")).CoreV1().Namespaces().Get(t.Context(), "oil-prod", metav1.GetOptions{})
		require.NoError(t, err, "the data is still there")
	})

	t.Run("down", func(t *testing.T) {
		last := pids(t, l)
		require.Len(t, last, 4)
		for range 2 {
			_, err := cluster(t, l, "down")
			require.NoError(t, err)
			requireGone(t, last)
			require.NoDirExists(t, l.ControlPlane())
			require.NoDirExists(t, l.Kubeconfigs())
			require.FileExists(t, filepath.Join(l.Logs(), "kube-apiserver.log"))
		}
	})
}

func TestUpWithServer(t *testing.T) {
	l := newTestLayout(t)
	binary := filepath.Join(t.TempDir(), deployment.ServerName)
	writeStandIn(t, binary, "")
	up := []string{"up", "--tenancy-apiserver", binary, "--tenancy-controller", leftOut, "--tenancy-proxy", leftOut}

	_, err := cluster(t, l, up...)
	require.NoError(t, err)
	first := pids(t, l)
	require.Len(t, first, 5)
	server := currentStatus(t, l).Processes[deployment.ServerName]
	require.NotEmpty(t, server)

	list, err := clientOf(t, l.Kubeconfig("alice")).Discovery().ServerResourcesForGroupVersion(deployment.GroupVersion)
	require.NoError(t, err)
	require.Equal(t, "tenantnamespaces", list.APIResources[0].Name)

	t.Run("up again changes nothing", func(t *testing.T) {
		out, err := cluster(t, l, up...)
		require.NoError(t, err)
		require.Contains(t, out, "tenancy-apiserver is running, unchanged")
		require.Equal(t, first, pids(t, l))
	})

	for name, change := range map[string]func(){
		"new flags":    func() { up = append(up, "--server-arg=--v=4") },
		"a new binary": func() { writeStandIn(t, binary, "# another") },
	} {
		t.Run("up after "+name+" restarts the server only", func(t *testing.T) {
			before := pids(t, l)
			change()
			out, err := cluster(t, l, up...)
			require.NoError(t, err)
			require.Contains(t, out, "tenancy-apiserver was started")
			after := pids(t, l)
			require.NotEqual(t, before[deployment.ServerName], after[deployment.ServerName])
			before[deployment.ServerName] = after[deployment.ServerName]
			require.Equal(t, before, after)
			require.Equal(t, server.Ports, currentStatus(t, l).Processes[deployment.ServerName].Ports)
		})
	}

	t.Run("all manifests are valid", func(t *testing.T) { requireValidManifests(t, l) })

	t.Run("a server that ends by itself is started again", func(t *testing.T) {
		before := pids(t, l)[deployment.ServerName]
		require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		eventually(t, "no other server", func() bool {
			pid := pids(t, l)[deployment.ServerName]
			return pid != 0 && pid != before
		})
	})

	t.Run("a server that does not start is an error with its log", func(t *testing.T) {
		writeStandIn(t, binary, "echo no such luck; exit 7")
		_, err := cluster(t, l, up...)
		require.ErrorContains(t, err, "exit status 7")
		require.ErrorContains(t, err, "no such luck")
		writeStandIn(t, binary, "")
		_, err = cluster(t, l, up...)
		require.NoError(t, err)
	})

	last := pids(t, l)
	require.Len(t, last, 5)
	_, err = cluster(t, l, "down")
	require.NoError(t, err)
	requireGone(t, last)
}

// writeStandIn writes a script that becomes this test binary.
func writeStandIn(t testing.TB, path, extra string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	script := fmt.Sprintf("#!/bin/sh\n%s\nexec %q \"$@\"\n", extra, self)
	// A new file: the old one may be being executed.
	require.NoError(t, os.WriteFile(path+".new", []byte(script), 0o700)) //nolint:gosec // an executable
	require.NoError(t, os.Rename(path+".new", path))
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return condition(), nil })
	require.NoError(t, err, what)
}

func TestDownWithoutUp(t *testing.T) {
	l, err := deployment.NewLayout(filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	_, err = cluster(t, l, "down")
	require.NoError(t, err)
	require.NoDirExists(t, l.Run)
}

func TestUpWithoutBinary(t *testing.T) {
	l, err := deployment.NewLayout(t.TempDir())
	require.NoError(t, err)
	_, err = cluster(t, l, "up", "--tenancy-apiserver", "none")
	require.ErrorContains(t, err, "find tenancy-apiserver: there is no ")
	require.ErrorContains(t, err, "run make build")
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = cluster(t, l, "up", "--tenancy-apiserver", self, "--tenancy-controller", "absent")
	require.ErrorContains(t, err, "find tenancy-controller: there is no ")
	_, err = cluster(t, l, "up", "--tenancy-apiserver", self, "--tenancy-controller", leftOut, "--tenancy-proxy", "absent")
	require.ErrorContains(t, err, "find tenancy-proxy: there is no ")
	_, err = cluster(t, l, "up", "--control-plane-only", "--apiserver-port=70000")
	require.EqualError(t, err, "--apiserver-port 70000 is not a port")
}

func TestKubeconfigRefusesNames(t *testing.T) {
	l, err := deployment.NewLayout(t.TempDir())
	require.NoError(t, err)
	for args, want := range map[string]string{
		"--oidc -- system:admin":         `"system:admin" cannot be in a token: names that begin with system: are the cluster's own`,
		"--oidc -- carol system:masters": `"system:masters" cannot be in a token: names that begin with system: are the cluster's own`,
		"--oidc -- ../carol":             `user "../carol" has a slash: the name is also the file's`,
		"--oidc -- admin":                `"admin" is the name of a kubeconfig that make up writes: choose another`,
		"-- carol-proxy":                 `user "carol-proxy" ends with -proxy, as kubeconfigs of the proxy do: choose another`,
		"--proxy -- admin":               `"admin" is the name of a kubeconfig that make up writes: choose another`,
		"--proxy -- tenancy":             `"tenancy-proxy" is the name of a kubeconfig that make up writes: choose another`,
		"-- carol --oidc":                `group "--oidc" begins with a dash: flags come before the user's name`,
		"--oidc --":                      "requires at least 1 arg(s), only received 0",
		// Nothing is wrong with the names of a certificate.
		"-- system:admin system:masters": "the control plane is not running: run make up",
		"--proxy -- carol":               "the control plane is not running: run make up",
	} {
		_, err := cluster(t, l, append([]string{"kubeconfig"}, strings.Fields(args)...)...)
		assert.EqualError(t, err, want, args)
	}
	require.NoDirExists(t, l.Kubeconfigs())
}

func TestValidateUser(t *testing.T) {
	for name, want := range map[string]string{
		"carol":                            "",
		"carol@example.com":                "",
		"system:serviceaccount:ns:x":       "",
		"":                                 "has no name",
		"a/b":                              "has a slash",
		"..":                               "begins with a dot or a dash",
		"--help":                           "begins with a dot or a dash",
		"a\nb":                             "do not print",
		"admin":                            "choose another",
		strings.Repeat("x", 250):           "too long",
		"system:serviceaccount:ns:../../x": "has a slash",
	} {
		err := validateUser(name, userOptions{})
		if want == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, want, name)
		}
	}
}
