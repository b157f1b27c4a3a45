// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestPlane supervises no control plane, only what a test adds.
func newTestPlane(t *testing.T, onExit func(*Process, error)) *ControlPlane {
	t.Helper()
	config, err := Config{Dir: t.TempDir(), OnExit: onExit}.complete()
	require.NoError(t, err)
	s, err := newSupervisor(t.Context(), config.Dir, config.LogDir, config.OnExit)
	require.NoError(t, err)
	cp := &ControlPlane{config: config, supervisor: s}
	t.Cleanup(func() { assert.NoError(t, cp.Stop()) })
	return cp
}

func shell(name, script string) ProcessSpec {
	return ProcessSpec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}
}

// logged is ready once the process has written something in this run.
func logged(cp *ControlPlane, name string) func(context.Context) error {
	seen := int64(0)
	return func(context.Context) error {
		info, err := os.Stat(filepath.Join(cp.config.LogDir, name+".log"))
		if err != nil {
			return err
		}
		if info.Size() <= seen {
			return errors.New("no output yet")
		}
		seen = info.Size()
		return nil
	}
}

func TestProcessLifecycle(t *testing.T) {
	cp := newTestPlane(t, nil)
	spec := shell("sleeper", "echo hello; exec sleep 1000")
	spec.Ready = logged(cp, spec.Name)
	p, err := cp.AddProcess(t.Context(), spec)
	require.NoError(t, err)
	first := p.PID()
	require.NotZero(t, first)
	require.NoError(t, p.Start(t.Context()), "a start of a running process does nothing")
	require.Equal(t, first, p.PID())

	_, err = cp.AddProcess(t.Context(), shell("sleeper", "exec sleep 1000"))
	require.ErrorContains(t, err, "there is a process of this name")

	require.NoError(t, p.Restart(t.Context()))
	require.NotEqual(t, first, p.PID())
	require.NoError(t, p.Stop())
	require.NoError(t, p.Stop())
	require.Zero(t, p.PID())
	require.False(t, p.Running())
	log, err := os.ReadFile(p.LogFile())
	require.NoError(t, err)
	require.Equal(t, "hello\nhello\n", string(log))

	require.NoError(t, cp.RemoveProcess(p))
	require.ErrorIs(t, p.Start(t.Context()), ErrNotRunning)
	_, err = cp.AddProcess(t.Context(), shell("sleeper", "exec sleep 1000"))
	require.NoError(t, err, "the name is free again")
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	cp := newTestPlane(t, nil)
	spec := shell("stubborn", `trap "" TERM; echo up; while :; do sleep 0.1; done`)
	spec.StopTimeout = 100 * time.Millisecond
	spec.Ready = logged(cp, spec.Name)
	p, err := cp.AddProcess(t.Context(), spec)
	require.NoError(t, err)
	pid, err := identify("stubborn", p.PID())
	require.NoError(t, err)
	require.NoError(t, p.Stop())
	require.False(t, pid.alive())
}

func TestFailedStart(t *testing.T) {
	cp := newTestPlane(t, nil)
	never := func(context.Context) error { return errors.New("not yet") }
	for name, test := range map[string]struct {
		script  string
		timeout time.Duration
		want    []string
	}{
		"exits":    {script: "echo why; exit 3", want: []string{"exit status 3", "why"}},
		"too slow": {script: "echo busy; exec sleep 1000", timeout: 300 * time.Millisecond, want: []string{"deadline", "not yet", "busy"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := shell("failing", test.script)
			spec.Ready, spec.StartTimeout = never, test.timeout
			_, err := cp.AddProcess(t.Context(), spec)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			st, err := readState(cp.config.Dir)
			require.NoError(t, err)
			require.Empty(t, st.Processes)
		})
	}
}

func TestStopInterruptsStart(t *testing.T) {
	cp := newTestPlane(t, nil)
	polled := make(chan struct{}, 1)
	spec := shell("slow", "exec sleep 1000")
	spec.Ready = func(context.Context) error {
		select {
		case polled <- struct{}{}:
		default:
		}
		return errors.New("not yet")
	}
	started := make(chan error, 1)
	go func() {
		_, err := cp.AddProcess(t.Context(), spec)
		started <- err
	}()
	<-polled
	require.NoError(t, cp.Stop())
	require.ErrorIs(t, <-started, ErrNotRunning)
}

func TestOnExitMayRestart(t *testing.T) {
	restarted := make(chan error, 1)
	cp := newTestPlane(t, func(p *Process, err error) {
		assert.ErrorContains(t, err, "signal: killed")
		restarted <- p.Start(t.Context())
	})
	p, err := cp.AddProcess(t.Context(), shell("fragile", "exec sleep 1000"))
	require.NoError(t, err)
	require.NoError(t, p.Kill(), "asked for, so nobody is told")
	require.NoError(t, p.Start(t.Context()))
	require.Empty(t, restarted)

	id, err := identify("fragile", p.PID())
	require.NoError(t, err)
	require.NoError(t, id.kill(t.Context()))
	require.NoError(t, <-restarted)
	require.True(t, p.Running())
	require.NotEqual(t, id.PID, p.PID())
}

func TestTakenPortIsTriedElsewhere(t *testing.T) {
	cp := newTestPlane(t, nil)
	var tried []int
	p, err := cp.startOnFreePorts(t.Context(), 1, func(ports []int) (ProcessSpec, error) {
		tried = append(tried, ports...)
		spec := shell("binder", "exec sleep 1000")
		if len(tried) == 1 {
			spec = shell("binder", "echo 'listen tcp: bind: address already in use'; exit 1")
			spec.Ready = func(context.Context) error { return errors.New("not yet") }
		}
		return spec, nil
	})
	require.NoError(t, err)
	require.True(t, p.Running())
	require.Len(t, tried, 2)

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // nobody has connected
	require.ErrorIs(t, CheckPort(listener.Addr().(*net.TCPAddr).Port), errPortTaken)
}

func TestStaleProcessesAreKilledAndNoOthers(t *testing.T) {
	var orphan, stranger identity
	for _, id := range []*identity{&orphan, &stranger} {
		cmd := exec.Command("sleep", "1000")
		require.NoError(t, cmd.Start())
		go cmd.Wait() //nolint:errcheck // killed: an error is right
		t.Cleanup(func() { cmd.Process.Kill() })
		var err error
		*id, err = identify("sleep", cmd.Process.Pid)
		require.NoError(t, err)
	}
	boot, err := bootID()
	require.NoError(t, err)
	// The stranger has the pid of a child that ended before it began.
	former := stranger
	former.StartTime--
	dir := t.TempDir()

	st := state{BootID: "another life of the kernel", Processes: []identity{orphan, former}}
	require.NoError(t, st.write(dir))
	require.NoError(t, killStale(t.Context(), dir))
	require.True(t, orphan.alive())

	st.BootID = boot
	require.NoError(t, st.write(dir))
	s, err := newSupervisor(t.Context(), dir, dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.False(t, orphan.alive())
	require.True(t, stranger.alive())
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	id, err := identify("sleep", cmd.Process.Pid)
	require.NoError(t, err)
	require.True(t, id.alive())
	// Nobody reaps it before the check.
	require.NoError(t, id.kill(t.Context()))
	require.Error(t, cmd.Wait())
}

func TestConfigErrors(t *testing.T) {
	for name, config := range map[string]Config{
		"no directory": {},
		"no port":      {Dir: "x", APIServerPort: 70000},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Start(t.Context(), config)
			require.Error(t, err)
		})
	}
}
