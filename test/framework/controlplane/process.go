// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

const defaultStopWait = 10 * time.Second

// ProcessSpec describes a process for ControlPlane.AddProcess.
type ProcessSpec struct {
	// Name is unique within the control plane; the log file is Name.log.
	Name string
	// Path is the executable, Args what follows its name.
	Path string
	Args []string
	// Env is the whole environment; nil inherits the supervisor's.
	Env []string
	// Ready returns nil once the process serves. It is polled until
	// StartTimeout (a minute by default). Without it, a process that was
	// started is ready.
	Ready        func(ctx context.Context) error
	StartTimeout time.Duration
	// StopTimeout is the time between SIGTERM and SIGKILL; 10 s by default.
	StopTimeout time.Duration
}

// Process is a child process that can be ended and started again. Its methods
// are safe for concurrent use; those that change it wait for each other.
type Process struct {
	spec       ProcessSpec
	supervisor *supervisor

	// change serializes Start, Stop, Kill and Restart. It is held while they
	// wait, and never together with mu for long.
	change sync.Mutex

	mu sync.Mutex
	// run is the present or the last run; nil before the first.
	run *run
}

func newProcess(s *supervisor, spec ProcessSpec) *Process {
	if spec.StartTimeout <= 0 {
		spec.StartTimeout = defaultStartWithin
	}
	if spec.StopTimeout <= 0 {
		spec.StopTimeout = defaultStopWait
	}
	return &Process{spec: spec, supervisor: s}
}

// Name returns the name that the process was added under.
func (p *Process) Name() string { return p.spec.Name }

// LogFile returns the path of what the process wrote to stdout and stderr.
func (p *Process) LogFile() string {
	return filepath.Join(p.supervisor.logDir, p.spec.Name+".log")
}

// PID returns the process id, or 0 if the process does not run.
func (p *Process) PID() int {
	if r := p.current(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Running reports whether the process runs, ready or not.
func (p *Process) Running() bool { return p.current() != nil }

// Start starts the process unless it runs, and waits until it is ready. If it
// ends before, or takes too long, the error has the end of its log, and the
// process does not run.
func (p *Process) Start(ctx context.Context) error {
	p.change.Lock()
	defer p.change.Unlock()
	return p.startLocked(ctx)
}

// Stop ends the process by SIGTERM, or by SIGKILL when that takes too long. It
// does nothing if the process does not run.
func (p *Process) Stop() error {
	p.change.Lock()
	defer p.change.Unlock()
	return p.endLocked(syscall.SIGTERM)
}

// Kill ends the process by SIGKILL and returns when it is gone.
func (p *Process) Kill() error {
	p.change.Lock()
	defer p.change.Unlock()
	return p.endLocked(syscall.SIGKILL)
}

// Restart is Stop and Start with the same arguments, hence on the same port.
func (p *Process) Restart(ctx context.Context) error {
	p.change.Lock()
	defer p.change.Unlock()
	if err := p.endLocked(syscall.SIGTERM); err != nil {
		return err
	}
	return p.startLocked(ctx)
}

// current returns the run under way, or nil.
func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return nil
	}
	select {
	case <-p.run.done:
		return nil
	default:
		return p.run
	}
}

// startLocked is Start; change is held.
func (p *Process) startLocked(ctx context.Context) error {
	if p.current() != nil {
		return nil
	}
	r, err := p.launch()
	if err != nil {
		return err
	}
	klog.FromContext(ctx).V(2).Info("Started process", "name", p.Name(), "pid", r.cmd.Process.Pid)
	if err := p.awaitReady(ctx, r); err != nil {
		endErr := p.endLocked(syscall.SIGKILL)
		return errors.Join(p.withLog(r, err), endErr)
	}
	return nil
}
