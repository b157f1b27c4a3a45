// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// requireAsked asks the stand-in of the proxy by a kubeconfig, and what it was shown.
func requireAsked(t testing.TB, kubeconfig, want string) {
	t.Helper()
	list, err := clientOf(t, kubeconfig).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, want, list.Items[0].Name)
}

func TestUpWithProxy(t *testing.T) {
	l := newTestLayout(t)
	server, proxy := filepath.Join(t.TempDir(), deployment.ServerName), filepath.Join(t.TempDir(), deployment.ProxyName)
	writeStandIn(t, server, "")
	writeStandIn(t, proxy, "")
	up := []string{"up", "--tenancy-apiserver", server, "--tenancy-controller", leftOut}

	_, err := cluster(t, l, append(up, "--tenancy-proxy", leftOut)...)
	require.NoError(t, err)
	require.NoFileExists(t, l.ProxyKubeconfig("alice"))
	_, err = cluster(t, l, "kubeconfig", "--proxy", "carol")
	require.EqualError(t, err, "tenancy-proxy is not running: run make up")

	up = append(up, "--tenancy-proxy", proxy)
	out, err := cluster(t, l, up...)
	require.NoError(t, err)
	require.Contains(t, out, "tenancy-proxy was started")
	first := pids(t, l)
	require.Len(t, first, 6)
	ports := currentStatus(t, l).Processes[deployment.ProxyName].Ports
	require.Contains(t, out, proxyURL(ports.Proxy))
	for user, want := range map[string]string{"alice": "alice", "bob": "bob", deployment.DevName: "token"} {
		require.Contains(t, out, l.ProxyKubeconfig(user))
		requireAsked(t, l.ProxyKubeconfig(user), want)
	}

	t.Run("up again changes nothing", func(t *testing.T) {
		before, err := os.ReadFile(l.ProxyKubeconfig("alice"))
		require.NoError(t, err)
		out, err := cluster(t, l, up...)
		require.NoError(t, err)
		require.Contains(t, out, "tenancy-proxy is running, unchanged")
		require.Equal(t, first, pids(t, l))
		after, err := os.ReadFile(l.ProxyKubeconfig("alice"))
		require.NoError(t, err)
		require.Equal(t, before, after)
	})

	t.Run("kubeconfig for any user", func(t *testing.T) {
		for want, args := range map[string][]string{"carol": {"--proxy", "carol"}, "token": {"--proxy", "--oidc", "carol"}} {
			out, err := cluster(t, l, append([]string{"kubeconfig"}, args...)...)
			require.NoError(t, err)
			require.Equal(t, l.ProxyKubeconfig("carol"), strings.TrimSpace(out))
			require.NoFileExists(t, l.Kubeconfig("carol"))
			requireAsked(t, l.ProxyKubeconfig("carol"), want)
		}
	})

	t.Run("up on another port restarts the proxy only", func(t *testing.T) {
		port, err := controlplane.FreePort()
		require.NoError(t, err)
		_, err = cluster(t, l, append(up, "--proxy-port", strconv.Itoa(port))...)
		require.NoError(t, err)
		require.Equal(t, port, currentStatus(t, l).Processes[deployment.ProxyName].Ports.Proxy.Server)
		after := pids(t, l)
		require.NotEqual(t, first[deployment.ProxyName], after[deployment.ProxyName])
		delete(first, deployment.ProxyName)
		delete(after, deployment.ProxyName)
		require.Equal(t, first, after)
		requireAsked(t, l.ProxyKubeconfig("alice"), "alice")
	})

	t.Run("up on a port of somebody else is refused", func(t *testing.T) {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close() //nolint:errcheck // nobody has connected
		_, err = cluster(t, l, append(up, "--proxy-port", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))...)
		require.ErrorContains(t, err, "choose port of tenancy-proxy: ")
		require.ErrorContains(t, err, "port is in use")
		requireAsked(t, l.ProxyKubeconfig("alice"), "alice")
	})

	last := pids(t, l)
	require.Len(t, last, 6)
	_, err = cluster(t, l, "down")
	require.NoError(t, err)
	requireGone(t, last)
	require.NoFileExists(t, l.ProxyKubeconfig("alice"))
}

// TestProxyPortIsTaken holds that another one is chosen than the usual one.
func TestProxyPortIsTaken(t *testing.T) {
	// If somebody else has it already, so much the better.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(usualProxyPort)))
	if err == nil {
		defer listener.Close() //nolint:errcheck // nobody has connected
	}
	var out strings.Builder
	d := &deployer{out: printer{&out}}
	require.NoError(t, d.chooseProxyPorts())
	require.NotEqual(t, usualProxyPort, d.proxy.Server)
	require.Equal(t, "Port 9001 is taken: tenancy-proxy serves at "+strconv.Itoa(d.proxy.Server)+"\n", out.String())
	chosen := d.proxy
	require.NoError(t, d.chooseProxyPorts())
	require.Equal(t, chosen, d.proxy)
}
