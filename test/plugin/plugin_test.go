// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"tenancy.capsule.io/pkg/plugin/access"
)

var ofAlice = []string{"namespace/oil-1", "namespace/oil-2"}

// get returns the answer to a GET, sent to a host by some name.
func get(t testing.TB, transport http.RoundTripper, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Host = host
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// TestProxy has somebody without a credential be alice.
func TestProxy(t *testing.T) {
	ownNamespaces(t)
	for name, login := range map[string]func(testing.TB) *user{"certificate": alice, "token": aliceByToken} {
		t.Run(name, func(t *testing.T) {
			u := login(t)
			_, stderr, err := u.run(t.Context(), "get", "namespaces")
			require.Error(t, err)
			require.Contains(t, stderr, "Forbidden")

			url, nobody := "http://"+u.serve(t, "--port=0"), stranger(t)
			if diff := cmp.Diff(ofAlice, lines(nobody.output(t, "-s", url, "get", "namespaces", "-o", "name"))); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
			if got := nobody.output(t, "-s", url, "auth", "can-i", "list", "namespaces"); got != "yes\n" {
				t.Errorf("can list namespaces: %s", got)
			}
			if got := nobody.output(t, "-s", url, "get", "storageclasses", "-o", "name"); !strings.Contains(got, "custom") || strings.Contains(got, "hidden") {
				t.Errorf("storage classes: %s", got)
			}
			code, body := get(t, http.DefaultTransport, url+"/api/v1/namespaces", "evil.example.com")
			if code != http.StatusForbidden || strings.Contains(body, "oil") {
				t.Errorf("by another host's name: got %d, %s", code, body)
			}
		})
	}
}

func TestProxyWatch(t *testing.T) {
	ownNamespaces(t)
	u := alice(t)
	url := "http://" + u.serve(t, "--port=0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := stranger(t).command(ctx, "-s", url, "get", "namespaces", "--watch", "--output-watch-events", "--no-headers")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	events := bufio.NewScanner(stdout)
	// kubectl lists before it watches, and may be told of a namespace by both.
	seen := map[string]bool{}
	next := func(want string) {
		t.Helper()
		for !seen[want] {
			require.True(t, events.Scan(), "the watch ended before %s", want)
			event := lines(events.Text())
			require.Contains(t, []string{"ADDED", "MODIFIED"}, event[0])
			seen[event[1]] = true
		}
	}
	next("oil-1")
	next("oil-2")
	require.Len(t, seen, 2)
	u.output(t, "create", "namespace", "oil-3")
	// To wait is to watch natively, which alice may not.
	defer u.output(t, "delete", "namespace", "oil-3", "--wait=false")
	next("oil-3")
	require.Len(t, seen, 3)
}

func TestProxyUnixSocket(t *testing.T) {
	ownNamespaces(t)
	// The name of a socket has to be short.
	dir, err := os.MkdirTemp("", "s-") //nolint:usetesting // that of a test is not
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	socket := filepath.Join(dir, "s")
	require.Equal(t, socket, alice(t).serve(t, "--unix-socket="+socket))
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Zero(t, info.Mode()&fs.ModePerm&0o077, "others can open it")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	code, body := get(t, transport, "http://localhost/api/v1/namespaces", "localhost")
	require.Equal(t, http.StatusOK, code, body)
	var list corev1.NamespaceList
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	var names []string
	for i := range list.Items {
		names = append(names, "namespace/"+list.Items[i].Name)
	}
	if diff := cmp.Diff(ofAlice, names); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	code, _ = get(t, transport, "http://localhost/api/v1/namespaces", "evil.example.com")
	require.Equal(t, http.StatusForbidden, code)
}

func TestAccess(t *testing.T) {
	ownNamespaces(t)
	const want = `TENANT   RESOURCE         VERBS                         COUNT   NAMES
oil      namespaces       get,list,watch,patch,delete   2       oil-1,oil-2
oil      tenants          get,list,watch                1       oil
<none>   storageclasses   get,list,watch                2       cephfs,custom
<none>   ingressclasses   get,list,watch,delete         1       internal
`
	u := alice(t)
	await(t, want, func() string { return u.output(t, "tenancy", "access") })

	var got access.Access
	require.NoError(t, json.Unmarshal([]byte(u.output(t, "tenancy", "access", "-o", "json")), &got))
	require.Equal(t, access.Kind, got.Kind)
	require.Equal(t, "alice", got.User.Username)
	require.Empty(t, got.Warnings)

	// All of it can be got natively.
	names := lines(u.output(t, "tenancy", "access", "-o", "name"))
	require.Contains(t, names, "storageclass.storage.k8s.io/custom")
	require.ElementsMatch(t, names, lines(u.output(t, append([]string{"get", "-o", "name"}, names...)...)))

	// Who may impersonate her is told the same, and somebody else nothing.
	kubeconfig, err := system.ControlPlane.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	admin, err := newUser(t.TempDir(), "admin", kubeconfig)
	require.NoError(t, err)
	require.Equal(t, want, admin.output(t, "tenancy", "access", "--as=alice", "--as-group="+users, "--as-group=system:authenticated"))
	stdout, stderr, err := admin.run(t.Context(), "tenancy", "access", "--as=nobody", "--as-group=system:authenticated")
	require.NoError(t, err)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "You may get nothing of what there are views of.\n")
}

// TestKubeconfig has alice ask the proxy of the cluster.
func TestKubeconfig(t *testing.T) {
	ownNamespaces(t)
	dir := t.TempDir()
	ca, file := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tenancy.kubeconfig")
	require.NoError(t, os.WriteFile(ca, system.ControlPlane.CACert(), 0o600))
	for name, login := range map[string]func(testing.TB) *user{"certificate": alice, "token": aliceByToken} {
		t.Run(name, func(t *testing.T) {
			u := login(t)
			defer func() { require.NoError(t, os.Remove(file)) }()
			require.Empty(t, u.output(t, "tenancy", "kubeconfig", "--server="+proxy.URL(), "--certificate-authority="+ca, "--output="+file))
			if diff := cmp.Diff(ofAlice, lines(stranger(t).output(t, "--kubeconfig="+file, "get", "namespaces", "-o", "name"))); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
			u.output(t, "tenancy", "kubeconfig", "--server="+proxy.URL(), "--certificate-authority="+ca, "--merge", "--context-name=through")
			if diff := cmp.Diff(ofAlice, lines(u.output(t, "--context=through", "get", "namespaces", "-o", "name"))); diff != "" {
				t.Errorf("namespaces by the context (-want +got):\n%s", diff)
			}
			// The current context is what it was.
			_, stderr, err := u.run(t.Context(), "get", "namespaces")
			require.Error(t, err)
			require.Contains(t, stderr, "Forbidden")
		})
	}
}
