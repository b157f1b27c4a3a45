// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// editPeriod is the time between two edits in the background.
const editPeriod = 25 * time.Millisecond

// editing is edits in the background.
type editing struct {
	made   atomic.Int64
	cancel context.CancelFunc
	// err is closed when the edits have ended, after their error was sent.
	err chan error
}

// editInBackground makes so many random edits while the test does something else;
// any number, until they are stopped, if n is 0.
func (w *world) editInBackground(t *testing.T, n int) *editing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := &editing{cancel: cancel, err: make(chan error, 1)}
	go func() {
		defer close(e.err)
		ticker := time.NewTicker(editPeriod)
		defer ticker.Stop()
		for i := 0; (n == 0 || i < n) && ctx.Err() == nil; i++ {
			// An edit is made as a whole.
			if err := w.edit(context.WithoutCancel(ctx), 1); err != nil {
				e.err <- err
				return
			}
			e.made.Add(1)
			<-ticker.C
		}
	}()
	t.Cleanup(func() { e.stop(t) })
	return e
}

// await waits until so many edits were made.
func (e *editing) await(t *testing.T, made int) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case err := <-e.err:
			require.NoError(t, err)
		default:
		}
		return e.made.Load() >= int64(made)
	}, 2*retryFor, editPeriod, "%d of %d edits were made", e.made.Load(), made)
}

// stop ends the edits.
func (e *editing) stop(t *testing.T) {
	t.Helper()
	e.cancel()
	require.NoError(t, <-e.err)
}
