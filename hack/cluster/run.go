// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

const (
	firstRestartDelay = time.Second
	lastRestartDelay  = 10 * time.Second
)

func newRunCommand(l *deployment.Layout) *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:    "run",
		Short:  "Supervise the control plane until SIGTERM; up starts this detached",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervise(cmd.Context(), *l, port)
		},
	}
	cmd.Flags().IntVar(&port, "apiserver-port", 0, "port of kube-apiserver")
	return cmd
}

// supervise runs a control plane until ctx ends, and takes requests meanwhile.
func supervise(ctx context.Context, l deployment.Layout, port int) (err error) {
	if err := l.Create(); err != nil {
		return err
	}
	s := &supervisor{ctx: ctx, specs: map[string]processSpec{}, processes: map[string]*controlplane.Process{}}
	listener, err := listen(l)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends with the process
	defer func() { err = errors.Join(err, server.Close()) }()

	cp, err := controlplane.Start(ctx, controlplane.Config{
		Dir:           l.ControlPlane(),
		LogDir:        l.Logs(),
		APIServerPort: port,
		OnExit:        s.restart,
	})
	if err != nil {
		return err
	}
	s.setReady(cp)
	klog.FromContext(ctx).Info("Control plane is ready", "server", cp.Server())
	<-ctx.Done()
	klog.Background().Info("Stopping")
	return cp.Stop()
}

// supervisor is what the socket of "run" gives access to.
type supervisor struct {
	// ctx ends when the process is asked to end. Restarts are nobody's request,
	// so there is no other context for them.
	ctx context.Context //nolint:containedctx // see above

	// processMu serializes requests to start a process.
	processMu sync.Mutex

	mu sync.Mutex
	// cp is nil until the control plane is ready.
	cp *controlplane.ControlPlane
	// specs are the processes as they were last started, processes those of them
	// that could be, by name.
	specs     map[string]processSpec
	processes map[string]*controlplane.Process
}

func (s *supervisor) setReady(cp *controlplane.ControlPlane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cp = cp
}

func (s *supervisor) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := status{PID: os.Getpid(), Ready: s.cp != nil, Processes: maps.Clone(s.specs)}
	if s.cp != nil {
		st.URL = s.cp.Server()
	}
	return st
}

// runProcess makes a process run as spec says, and reports whether it had to be
// started for that.
func (s *supervisor) runProcess(ctx context.Context, spec *processSpec) (started bool, err error) {
	s.processMu.Lock()
	defer s.processMu.Unlock()
	s.mu.Lock()
	cp, process, present := s.cp, s.processes[spec.Name], s.specs[spec.Name]
	s.mu.Unlock()
	if cp == nil {
		return false, errors.New("the control plane is not ready")
	}
	if process != nil && process.Running() && present.equal(spec) {
		return false, nil
	}
	if process != nil {
		if err := cp.RemoveProcess(process); err != nil {
			return false, err
		}
	}
	ready, err := cp.ReadyAt(spec.ReadyURL)
	if err != nil {
		return false, err
	}
	process, err = cp.AddProcess(ctx, controlplane.ProcessSpec{Name: spec.Name, Path: spec.Path, Args: spec.Args, Ready: ready})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs[spec.Name], s.processes[spec.Name] = *spec, process
	return err == nil, err
}

// restart brings back a process that ended by itself, sooner the first time than
// later, until it runs or has been given up.
func (s *supervisor) restart(p *controlplane.Process, cause error) {
	logger := klog.FromContext(s.ctx).WithValues("name", p.Name())
	logger.Error(cause, "Process ended, restarting it")
	for delay := firstRestartDelay; ; delay = min(2*delay, lastRestartDelay) {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(delay):
		}
		err := p.Start(s.ctx)
		if err == nil {
			logger.Info("Process runs again", "pid", p.PID())
			return
		}
		if errors.Is(err, controlplane.ErrNotRunning) || s.ctx.Err() != nil {
			return
		}
		logger.Error(err, "Restart failed")
	}
}
