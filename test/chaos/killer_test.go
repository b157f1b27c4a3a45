// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// bigBang is the most writes, and longLife the most time, that a controller is
	// given before it is killed. Right after its start it has most to write.
	bigBang  = 20
	longLife = 400 * time.Millisecond
	// longDeath is the most time that it stays dead, while edits go on.
	longDeath = 300 * time.Millisecond
	// firstWrite is how long it may take to begin.
	firstWrite = 10 * time.Second
	lookAgain  = time.Millisecond
)

// life is one run of the controller.
type life struct{ started, ready, ended time.Time }

// killer kills the controller and starts it again.
type killer struct {
	controller *controlplane.Process
	recorder   *recorder
	random     random

	lives []life
	// starting is closed when the present life is ready, since readyAt, or is over, with
	// err.
	starting chan struct{}
	readyAt  time.Time
	err      error
}

// start starts the controller and does not wait until it is ready.
func (k *killer) start(ctx context.Context) {
	k.lives = append(k.lives, life{started: time.Now()})
	k.starting = make(chan struct{})
	go func() {
		defer close(k.starting)
		k.err = k.controller.Start(ctx)
		k.readyAt = time.Now()
	}()
}

// awaitReady returns when the controller has read everything.
func (k *killer) awaitReady(t *testing.T) {
	t.Helper()
	<-k.starting
	require.NoError(t, k.err)
	k.lives[len(k.lives)-1].ready = k.readyAt
}

// killSometime kills the controller at some moment of what it does after its start:
// after some writes of it, or some time after it is ready. Edits go on meanwhile, and
// when it is dead. It starts it again then, at once or after a while.
func (k *killer) killSometime(t *testing.T) {
	t.Helper()
	k.awaitMoment(t)
	k.kill(t)
	if k.random.oneIn(2) {
		timeout(t, time.Duration(k.random.Int64N(int64(longDeath))))
	}
	k.start(t.Context())
}

// awaitMoment returns when it is time to kill.
func (k *killer) awaitMoment(t *testing.T) {
	t.Helper()
	if k.random.oneIn(2) {
		k.awaitReady(t)
		timeout(t, time.Duration(k.random.Int64N(int64(longLife))))
		return
	}
	enough := k.recorder.writes() + 1 + k.random.IntN(bigBang)
	more := time.Duration(k.random.Int64N(int64(10 * time.Millisecond)))
	deadline := time.After(firstWrite)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for k.recorder.writes() < enough {
		select {
		case <-deadline:
			return
		case <-ticker.C:
		}
	}
	timeout(t, more)
}

func timeout(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// kill kills the controller, ready or not.
func (k *killer) kill(t *testing.T) {
	t.Helper()
	select {
	case <-k.starting:
		require.NoError(t, k.err)
		require.True(t, k.controller.Running(), "the controller has ended by itself, see %s", k.controller.LogFile())
	default:
		// Kill would wait for the start.
		if pid := k.controller.PID(); pid > 0 {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		<-k.starting
	}
	if k.err == nil {
		k.lives[len(k.lives)-1].ready = k.readyAt
		require.NoError(t, k.controller.Kill())
	}
	k.lives[len(k.lives)-1].ended = time.Now()
}

// freeze stops a process where it is, until the returned function is called.
func freeze(t *testing.T, p *controlplane.Process) (thaw func()) {
	t.Helper()
	pid := p.PID()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	thaw = sync.OnceFunc(func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) })
	t.Cleanup(thaw)
	return thaw
}

// since returns what a writer may have missed at the time of a write: what became
// known before, all could know. The writer is the controller that was ready last, or
// one after it, who has read everything after its own start.
func since(lives []life, written time.Time) time.Time {
	earliest := written.Add(-lag)
	for _, l := range lives {
		if !l.ready.IsZero() && l.ready.Before(written) && l.started.After(earliest) {
			earliest = l.started
		}
	}
	return earliest
}

// lag is how far a write may lag behind what is known: those of one plan are decided on
// together, and made one after the other.
const lag = 10 * time.Second
