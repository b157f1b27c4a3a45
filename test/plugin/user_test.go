// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// users is the group of capsule users.
	users = "capsule.clastix.io"
	// eventually is how long the system may take to do something, on a machine that is
	// busy.
	eventually = 30 * time.Second
	tick       = 100 * time.Millisecond
)

// user is somebody with a kubeconfig, and a kubectl that finds the plugin.
type user struct {
	kubectl string
	env     []string
	// config is the file of the kubeconfig.
	config string
}

func newUser(dir, name string, kubeconfig []byte) (*user, error) {
	kubectl, err := controlplane.FindBinary("", "kubectl")
	if err != nil {
		return nil, err
	}
	plugins, err := filepath.Abs("../../bin/race")
	if err != nil {
		return nil, err
	}
	u := &user{kubectl: kubectl, config: filepath.Join(dir, name+".kubeconfig")}
	u.env = append(os.Environ(),
		"PATH="+plugins+string(filepath.ListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+u.config,
		"KUBECACHEDIR="+filepath.Join(dir, "cache"), "HOME="+dir)
	return u, os.WriteFile(u.config, kubeconfig, 0o600)
}

// alice returns the owner of the Tenant, who comes with a client certificate.
func alice(t testing.TB) *user {
	t.Helper()
	kubeconfig, err := system.ControlPlane.Kubeconfig("alice", users)
	require.NoError(t, err)
	u, err := newUser(t.TempDir(), "alice", kubeconfig)
	require.NoError(t, err)
	return u
}

// aliceByToken returns alice, who comes with a token.
func aliceByToken(t testing.TB) *user {
	t.Helper()
	kubeconfig, err := system.ControlPlane.TokenKubeconfig("alice", users)
	require.NoError(t, err)
	u, err := newUser(t.TempDir(), "alice", kubeconfig)
	require.NoError(t, err)
	return u
}

// stranger returns somebody without a kubeconfig.
func stranger(t testing.TB) *user {
	t.Helper()
	u, err := newUser(t.TempDir(), "nobody", nil)
	require.NoError(t, err)
	return u
}

func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, u.kubectl, args...)
	cmd.Env = u.env
	return cmd
}

// run runs kubectl and returns what it wrote.
func (u *user) run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := u.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// output runs kubectl, which has to succeed, and returns its standard output.
func (u *user) output(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, err := u.run(t.Context(), args...)
	require.NoError(t, err, "kubectl %q: %s", args, stderr)
	require.NotContains(t, stderr, "DATA RACE")
	return stdout
}

func (u *user) apply(ctx context.Context, manifests string) error {
	cmd := u.command(ctx, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w: %s", err, out)
	}
	return nil
}

// ownNamespaces has alice own exactly the namespaces oil-1 and oil-2, and see them.
func ownNamespaces(t testing.TB) {
	t.Helper()
	u := alice(t)
	for _, name := range []string{"oil-1", "oil-2"} {
		// The webhook that judges it may not know the Tenant yet.
		await(t, "", func() string {
			if _, stderr, err := u.run(t.Context(), "create", "namespace", name); err != nil && !strings.Contains(stderr, "AlreadyExists") {
				return stderr
			}
			return ""
		})
	}
	await(t, []string{"tenantnamespace.tenancy.capsule.io/oil-1", "tenantnamespace.tenancy.capsule.io/oil-2"}, func() []string {
		stdout, _, err := u.run(t.Context(), "get", "tenantnamespaces", "-o", "name")
		if err != nil {
			return nil
		}
		return lines(stdout)
	})
}

func lines(s string) []string { return strings.Fields(s) }

// await waits until what is read is what is wanted.
func await[T any](t testing.TB, want T, read func() T) {
	t.Helper()
	var got T
	err := wait.PollUntilContextTimeout(t.Context(), tick, eventually, true, func(context.Context) (bool, error) {
		got = read()
		return cmp.Equal(want, got), nil
	})
	if err != nil {
		t.Fatalf("not in %v (-want +got):\n%s", eventually, cmp.Diff(want, got))
	}
}

// serve runs "kubectl tenancy proxy" until the test is over, and returns where it serves.
func (u *user) serve(t testing.TB, args ...string) string {
	t.Helper()
	cmd := u.command(context.WithoutCancel(t.Context()), slices.Concat([]string{"tenancy", "proxy"}, args)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	t.Cleanup(func() {
		// kubectl has become the plugin.
		err := errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Wait())
		require.NoError(t, err, errOut.String())
		require.NotContains(t, errOut.String(), "DATA RACE")
	})
	require.NoError(t, err)
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Starting to serve on ")
	require.True(t, ok, line)
	return address
}
