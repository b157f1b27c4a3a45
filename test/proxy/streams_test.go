// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
}

// actor is somebody with kubectl who turns to the pod of a stage.
type actor struct {
	kubectl *framework.Kubectl
	*stage
	webSocket bool
}

// command returns kubectl as a command to start.
func (a actor) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := a.kubectl.Command(ctx, append([]string{"--namespace=" + a.namespace}, args...)...)
	value := strconv.FormatBool(a.webSocket)
	cmd.Env = append(os.Environ(), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+value, "KUBECTL_PORT_FORWARD_WEBSOCKETS="+value)
	return cmd
}

// result is what is seen of a command that has ended.
type result struct {
	Stdout, Stderr string
	Code           int
}

// run runs kubectl to its end.
func (a actor) run(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), framework.Eventually)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := a.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// requireWebSockets holds how many WebSockets the API server translates in the course of
// something. kubectl goes over to SPDY without a word if it cannot speak them.
func (a actor) requireWebSockets(t testing.TB, metric string, do func()) {
	t.Helper()
	before := apiServerMetric(t, metric)
	do()
	want := 0.0
	if a.webSocket {
		want = 1
	}
	require.Equal(t, want, apiServerMetric(t, metric)-before, metric) //nolint:testifylint // they are whole numbers
}

const (
	translated = `apiserver_stream_translator_requests_total{code="200"}`
	tunneled   = `apiserver_stream_tunnel_requests_total{code="101"}`
)

// apiServerMetric returns a metric of the API server, 0 if it has none.
func apiServerMetric(t testing.TB, name string) float64 {
	t.Helper()
	data, err := system.Admin(t).Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return number
		}
	}
	return 0
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

// compare holds that there is no difference.
func compare[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// running is a command that has not ended yet.
type running struct {
	stdin io.Writer
	lines chan string
}

// start starts a command, which is to end when its context does.
func start(t testing.TB, cmd *exec.Cmd) *running {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	require.NoError(t, cmd.Start())
	r := &running{stdin: stdin, lines: make(chan string)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		reader := bufio.NewReader(stdout)
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				break
			}
			select {
			case r.lines <- strings.TrimSuffix(line, "\n"):
			case <-t.Context().Done():
			}
		}
		close(r.lines)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("standard error of %q: %s", cmd.Args, errOut.String())
		}
	})
	return r
}

// next returns the next line.
func (r *running) next(t testing.TB) string {
	t.Helper()
	return receive(t, "a line", r.lines)
}
