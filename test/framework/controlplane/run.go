// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const readyPoll = 50 * time.Millisecond

// run is one life of a process.
type run struct {
	cmd *exec.Cmd
	// logStart is the size of the log before this run.
	logStart int64

	// done is closed by the goroutine that reaps the process, after it has
	// written err.
	done chan struct{}
	err  error

	mu sync.Mutex
	// ready and ending decide whether an exit is worth a notification.
	ready, ending bool
}

// launch forks the process, with a goroutine that reaps it.
func (p *Process) launch() (*run, error) {
	// The first run begins a new log, the next ones add to it.
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if p.run == nil {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(p.LogFile(), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", p.Name(), err)
	}
	// The child writes to the file itself; no pipe ties it to this process.
	defer log.Close() //nolint:errcheck // the child has its own handle
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", p.Name(), err)
	}
	cmd := exec.Command(p.spec.Path, p.spec.Args...)
	cmd.Env = p.spec.Env
	cmd.Dir = p.supervisor.dir
	cmd.Stdout, cmd.Stderr = log, log
	r := &run{cmd: cmd, logStart: info.Size(), done: make(chan struct{})}
	if err := p.supervisor.fork(p, cmd); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.run = r
	p.mu.Unlock()
	go p.reap(r)
	return r, nil
}

// reap waits for the end of a run and tells who has to know.
func (p *Process) reap(r *run) {
	err := r.cmd.Wait()
	err = errors.Join(err, p.supervisor.forget(r.cmd.Process.Pid))
	if err == nil {
		err = errors.New("exit status 0")
	}
	r.err = fmt.Errorf("%s ended: %w", p.Name(), err)
	r.mu.Lock()
	notify := r.ready && !r.ending && p.supervisor.onExit != nil
	if notify {
		p.supervisor.notifications.Add(1)
	}
	close(r.done)
	r.mu.Unlock()
	if notify {
		defer p.supervisor.notifications.Done()
		p.supervisor.onExit(p, p.withLog(r, r.err))
	}
}

// awaitReady polls until the process serves, ends, or has taken too long.
func (p *Process) awaitReady(ctx context.Context, r *run) error {
	if p.spec.Ready != nil {
		ctx, cancel := context.WithTimeout(ctx, p.spec.StartTimeout)
		defer cancel()
		ticker := time.NewTicker(readyPoll)
		defer ticker.Stop()
		for {
			err := p.spec.Ready(ctx)
			if err == nil {
				break
			}
			select {
			case <-r.done:
				return r.err
			case <-p.supervisor.closing:
				return fmt.Errorf("await %s: %w", p.Name(), ErrNotRunning)
			case <-ctx.Done():
				return fmt.Errorf("await %s: %w: %w", p.Name(), ctx.Err(), err)
			case <-ticker.C:
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	default:
		r.ready = true
		return nil
	}
}

// endLocked ends the run under way, if any, and returns when it is reaped;
// change is held.
func (p *Process) endLocked(sig syscall.Signal) error {
	r := p.current()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{sig, p.spec.StopTimeout}, {syscall.SIGKILL, killWithin}} {
		if err := r.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("signal %s: %w", p.Name(), err)
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-r.done:
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	return fmt.Errorf("end %s: pid %d survives SIGKILL", p.Name(), r.cmd.Process.Pid)
}

// withLog adds the end of the run's log to an error.
func (p *Process) withLog(r *run, err error) error {
	tail, readErr := tailLog(p.LogFile(), r.logStart)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if strings.Contains(tail, "address already in use") {
		err = fmt.Errorf("%w: %w", err, errPortTaken)
	}
	return fmt.Errorf("%w\nend of %s:\n%s", err, p.LogFile(), tail)
}
