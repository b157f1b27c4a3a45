// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"
)

// The test binary is also the helper processes of the tests: the environment
// says which.
const (
	helperEnv        = "CONTROLPLANE_TEST_HELPER"
	helperSupervise  = "supervise"
	helperOrphanEnv  = "CONTROLPLANE_TEST_DIR"
	helperReadyLine  = "ready"
	testPollInterval = 20 * time.Millisecond
	testDeadline     = 60 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == helperSupervise {
		os.Exit(supervise(os.Getenv(helperOrphanEnv)))
	}
	os.Exit(m.Run())
}

// supervise starts a control plane and waits to be killed.
func supervise(dir string) int {
	if _, err := Start(context.Background(), Config{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(helperReadyLine)
	select {}
}

// startHelper runs supervise in a process of its own and waits until it is up.
func startHelper(t testing.TB, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+helperSupervise, helperOrphanEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // usually gone by now
		cmd.Wait()         //nolint:errcheck // killed: an error is right
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "helper did not start")
	require.Equal(t, helperReadyLine+"\n", line)
	return cmd
}

// start starts a control plane that ends with the test.
func start(t testing.TB, config Config) *ControlPlane {
	t.Helper()
	cp, err := Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cp.Stop()) })
	return cp
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func(ctx context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), testPollInterval, testDeadline, true,
		func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	require.NoError(t, err, what)
}
