// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tenancy.capsule.io/test/framework"
)

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

// apiServerMetric returns a metric of the API server.
func apiServerMetric(t testing.TB, name string) float64 {
	t.Helper()
	data, err := system.Admin(t).Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	return metricIn(t, data, name)
}

// metricIn returns a metric, 0 if there is none of the name.
func metricIn(t testing.TB, data []byte, name string) float64 {
	t.Helper()
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return number
		}
	}
	return 0
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
