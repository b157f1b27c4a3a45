// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// supervisor starts processes, keeps them on record, and ends them.
type supervisor struct {
	dir    string
	logDir string
	lock   *os.File
	onExit func(*Process, error)
	forks  chan func()
	// closing is closed by close: starts under way give up.
	closing chan struct{}

	// notifications counts the calls of onExit under way.
	notifications sync.WaitGroup

	mu sync.Mutex
	// state is on disk as it is here, but for the moment of the write.
	state state
	// processes are in the order of their start.
	processes []*Process
	// servers run in this process. They end after the processes, which ask
	// them, and before dir is free.
	servers []io.Closer
	closed  bool
}

// newSupervisor takes dir, and ends what an earlier one left running in it.
func newSupervisor(ctx context.Context, dir, logDir string, onExit func(*Process, error)) (*supervisor, error) {
	for _, path := range []string{dir, logDir} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("create directory: %w", err)
		}
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &supervisor{
		dir: dir, logDir: logDir, lock: lock, onExit: onExit,
		forks: make(chan func()), closing: make(chan struct{}),
	}
	if err := s.init(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	go s.forkLoop()
	return s, nil
}

func (s *supervisor) init(ctx context.Context) error {
	if err := killStale(ctx, s.dir); err != nil {
		return err
	}
	var err error
	if s.state.BootID, err = bootID(); err != nil {
		return err
	}
	if s.state.Supervisor, err = identify("supervisor", os.Getpid()); err != nil {
		return err
	}
	return s.state.write(s.dir)
}

// forkLoop forks all children on one thread that lives as long as they do: the
// kernel sends Pdeathsig when the *thread* that forked a child ends, and Go
// ends threads when a goroutine that is locked to one does.
func (s *supervisor) forkLoop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for fork := range s.forks {
		fork()
	}
}

// fork starts the command as a child that dies with this process, and records
// it. A terminal's interrupt does not reach the child: its process group is its
// own, and it is for the supervisor to end it.
func (s *supervisor) fork(p *Process, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !slices.Contains(s.processes, p) {
		return fmt.Errorf("start %s: %w", p.Name(), ErrNotRunning)
	}
	result := make(chan error)
	s.forks <- func() { result <- cmd.Start() }
	if err := <-result; err != nil {
		return fmt.Errorf("start %s: %w", p.Name(), err)
	}
	// It is not reaped before this returns, so its status can be read even if
	// it has ended.
	id, err := identify(p.Name(), cmd.Process.Pid)
	if err == nil {
		s.state.Processes = append(s.state.Processes, id)
		err = s.state.write(s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("record %s: %w", p.Name(), err), cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// forget takes a process that was reaped off the record.
func (s *supervisor) forget(pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Processes = slices.DeleteFunc(s.state.Processes, func(i identity) bool { return i.PID == pid })
	return s.state.write(s.dir)
}

// setServer records where kube-apiserver is.
func (s *supervisor) setServer(url string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Server = url
	return s.state.write(s.dir)
}

// add registers a process, which must have a name of its own.
func (s *supervisor) add(p *Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("add %s: %w", p.Name(), ErrNotRunning)
	}
	if slices.ContainsFunc(s.processes, func(other *Process) bool { return other.Name() == p.Name() }) {
		return fmt.Errorf("add %s: there is a process of this name", p.Name())
	}
	s.processes = append(s.processes, p)
	return nil
}

// addServer hands over a server of this process for close to end.
func (s *supervisor) addServer(server io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, server)
}

// remove undoes add: the process will not be started again, nor be ended by
// close. The caller sees to its end.
func (s *supervisor) remove(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = slices.DeleteFunc(s.processes, func(other *Process) bool { return other == p })
}

// close ends all processes, the last to start first, then the servers, and gives
// dir free. Only the first call does something.
func (s *supervisor) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	processes, servers := slices.Clone(s.processes), slices.Clone(s.servers)
	s.mu.Unlock()

	var errs []error
	for _, p := range slices.Backward(processes) {
		errs = append(errs, p.Stop())
	}
	s.notifications.Wait()
	close(s.forks)
	if errors.Join(errs...) == nil {
		errs = append(errs, os.Remove(filepath.Join(s.dir, stateFile)))
	}
	for _, server := range servers {
		errs = append(errs, server.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
