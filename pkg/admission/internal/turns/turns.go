// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package turns keeps requests from getting in each other's way: those of one process by
// turns, those of several by trying again.
package turns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

const firstBackoff = 5 * time.Millisecond

// Retry tries until the error is no conflict, and returns it. Between two tries it waits,
// longer each time up to about maxBackoff, but not beyond the context.
func Retry(ctx context.Context, clock clock.Clock, maxBackoff time.Duration, try func() error) error {
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := try()
		if !apierrors.IsConflict(err) {
			return err
		}
		if waiting := wait(ctx, clock, backoff); waiting != nil {
			return fmt.Errorf("%w, last: %w", waiting, err)
		}
	}
}

// wait waits about as long as it is told, but not beyond the context.
func wait(ctx context.Context, clock clock.Clock, about time.Duration) error {
	timer := clock.NewTimer(about/2 + rand.N(about)) //nolint:gosec // it keeps replicas apart, no secret
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Turns lets one caller at a time through for each key. It holds nothing for keys
// that nobody waits for. The zero value is ready.
type Turns[K comparable] struct {
	mu   sync.Mutex
	keys map[K]*turn // guarded by mu
}

// turn is what those who want the same key share.
type turn struct {
	// token is in the channel while nobody has the turn.
	token chan struct{}
	// users have the turn or wait for it. Guarded by Turns.mu.
	users int
}

// Take waits for the turn. The caller has to call done afterwards, once.
func (t *Turns[K]) Take(ctx context.Context, key K) (done func(), err error) {
	mine := t.join(key)
	select {
	case <-mine.token:
		return func() {
			mine.token <- struct{}{}
			t.leave(key, mine)
		}, nil
	case <-ctx.Done():
		t.leave(key, mine)
		return nil, ctx.Err()
	}
}

// Len returns for how many keys somebody has the turn or waits.
func (t *Turns[K]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys)
}

func (t *Turns[K]) join(key K) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.keys[key]
	if mine == nil {
		mine = &turn{token: make(chan struct{}, 1)}
		mine.token <- struct{}{}
		if t.keys == nil {
			t.keys = map[K]*turn{}
		}
		t.keys[key] = mine
	}
	mine.users++
	return mine
}

func (t *Turns[K]) leave(key K, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(t.keys, key)
	}
}
