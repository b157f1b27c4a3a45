// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tenancy.capsule.io/test/framework"
)

// TestStreams has kubectl speak what is not HTTP any more, or does not end, by each
// protocol that it knows, and as each kind of user.
func TestStreams(t *testing.T) {
	s := newStage(t, "streams")
	for _, protocol := range []struct {
		name      string
		webSocket bool
	}{{"WebSocket", true}, {"SPDY", false}} {
		forEachKubectl(t, func(t *testing.T, kubectl kubectlOf) {
			t.Run(protocol.name, func(t *testing.T) {
				a := actor{kubectl(t, owner, users), s, protocol.webSocket}
				t.Run("exec", func(t *testing.T) { testExec(t, a) })
				t.Run("attach", func(t *testing.T) { testAttach(t, a) })
				t.Run("cp", func(t *testing.T) { testCopy(t, a) })
				t.Run("port-forward", func(t *testing.T) { testPortForward(t, a) })
			})
		})
	}
	forEachKubectl(t, func(t *testing.T, kubectl kubectlOf) {
		t.Run("logs", func(t *testing.T) { testLogs(t, actor{kubectl: kubectl(t, owner, users), stage: s}) })
		t.Run("refused", func(t *testing.T) { testRefused(t, s, kubectl) })
	})
	metrics := &caller{&http.Client{Timeout: soon}, proxy.MetricsURL()}
	framework.AwaitWithin(t, soon, "streams that the proxy has open", 0, func(context.Context) (float64, error) {
		return metricIn(t, metrics.get(t, "").body, "tenancy_proxy_open_streams"), nil
	})
}

func testExec(t *testing.T, a actor) {
	a.requireWebSockets(t, translated, func() {
		got := a.run(t, "hello\n", "exec", "-i", a.pod, "--", "sh", "-c", "cat; echo oops >&2; exit 7")
		compare(t, "exec", result{"hello\n", "oops\ncommand terminated with exit code 7\n", 7}, got)
	})
	got := a.run(t, "", "exec", a.pod, "--", "echo", "no input")
	compare(t, "exec without input", result{Stdout: "no input\n"}, got)
	a.kubelet.awaitEnd(t)

	// A client that is killed in the middle of it.
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	running := start(t, a.command(ctx, "exec", "-i", a.pod, "--", "cat"))
	for _, line := range []string{"one", "two"} {
		_, err := io.WriteString(running.stdin, line+"\n")
		require.NoError(t, err)
		require.Equal(t, line, running.next(t))
	}
	a.kubelet.requireOpen(t)
	kill()
	a.kubelet.awaitEnd(t)
}

func testAttach(t *testing.T, a actor) {
	a.requireWebSockets(t, translated, func() {
		compare(t, "attach", result{Stdout: "hello\n"}, a.run(t, "hello\n", "attach", "-i", "-q", a.pod))
	})
	a.kubelet.awaitEnd(t)
}

// testCopy has kubectl copy a file to the pod and back, by tar over exec.
func testCopy(t *testing.T, a actor) {
	dir := t.TempDir()
	want := make([]byte, 3<<20)
	_, _ = rand.Read(want)
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	require.NoError(t, os.WriteFile(there, want, 0o600))
	for _, args := range [][]string{{"cp", there, a.pod + ":copy"}, {"cp", a.pod + ":copy", back}} {
		got := a.run(t, "", args...)
		require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	}
	for _, file := range []string{filepath.Join(a.kubelet.dir, "copy"), back} {
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "%s has %d bytes instead of %d", file, len(got), len(want))
	}
}

// forwarding matches what kubectl port-forward says when it is ready.
var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> 8080$`)

func testPortForward(t *testing.T, a actor) {
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	a.requireWebSockets(t, tunneled, func() {
		running := start(t, a.command(ctx, "port-forward", "--address=127.0.0.1", a.pod, ":8080"))
		address := forwarding.FindStringSubmatch(running.next(t))
		require.NotNil(t, address)
		for range 2 {
			echoThrough(t, address[1])
		}
	})
	a.kubelet.requireOpen(t)
	kill()
	a.kubelet.awaitEnd(t)
}

// echoThrough writes to a connection, and reads it all back meanwhile.
func echoThrough(t *testing.T, address string) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: framework.Eventually}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // what is read says it all
	want := make([]byte, 1<<20)
	_, _ = rand.Read(want)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(want)
		written <- err
	}()
	got := make([]byte, len(want))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(want, got), "other bytes came back")
}

// testLogs has each line arrive before the next is written.
func testLogs(t *testing.T, a actor) {
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	running := start(t, a.command(ctx, "logs", "--follow", a.pod))
	for _, line := range []string{"one", "two", strings.Repeat("three", 100_000)} {
		send(t, a.kubelet.lines, line)
		require.Equal(t, line, running.next(t))
	}
	a.kubelet.requireOpen(t)
	kill()
	a.kubelet.awaitEnd(t)
}

// testRefused has those turn to the pod who have no right to.
func testRefused(t *testing.T, s *stage, kubectl kubectlOf) {
	admin := system.Admin(t)
	_, err := admin.RbacV1().RoleBindings(s.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "carol-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "carol"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.awaitAccess(t, "carol", "get", "pods", "")
	served := s.kubelet.served.Load()
	for _, test := range []struct{ user, want string }{
		// Who sees nothing of the namespace is not even told that it is there.
		{"bob", "error from server (notfound): "},
		{"carol", " is forbidden: user \"carol\" cannot create resource \"pods/"},
	} {
		for _, webSocket := range []bool{true, false} {
			a := actor{kubectl(t, test.user), s, webSocket}
			for _, args := range [][]string{
				{"exec", s.pod, "--", "echo", "hello"}, {"attach", "-q", s.pod}, {"port-forward", s.pod, ":8080"},
			} {
				got := a.run(t, "", args...)
				if got.Code == 0 || !strings.Contains(strings.ToLower(got.Stderr), test.want) {
					t.Errorf("%s: %q: want %q, got %+v", test.user, args, test.want, got)
				}
			}
		}
	}
	got := actor{kubectl: kubectl(t, "bob"), stage: s}.run(t, "", "logs", s.pod)
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "rror from server (NotFound): ")
	require.Equal(t, served, s.kubelet.served.Load(), "the kubelet is not reached")
}
