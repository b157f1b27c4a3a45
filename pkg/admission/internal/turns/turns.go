// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package turns keeps requests of one process from getting in each other's way.
package turns

import (
	"context"
	"sync"
)

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
