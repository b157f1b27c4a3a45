// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"time"

	"k8s.io/utils/clock"
)

// Budget is what may be spent on what belongs together: time, and memory for what
// is kept. It must not be used concurrently.
type Budget struct {
	clock    clock.PassiveClock
	limit    time.Duration
	deadline time.Time
	// bytes may be taken in all, and left are yet to be.
	bytes, left int
}

// SpentError says what of a budget is spent.
type SpentError struct{ message string }

func (e *SpentError) Error() string { return e.message }

// NewBudget returns a budget the time of which begins now.
func NewBudget(c clock.PassiveClock, limit time.Duration, bytes int) *Budget {
	return &Budget{clock: c, limit: limit, deadline: c.Now().Add(limit), bytes: bytes, left: bytes}
}

// Check returns a SpentError if nothing is left.
func (b *Budget) Check() error {
	if b.left < 0 {
		return &SpentError{fmt.Sprintf("this needs more than %d MiB", b.bytes>>20)}
	}
	if b.clock.Now().After(b.deadline) {
		return &SpentError{fmt.Sprintf("this takes more than %v", b.limit)}
	}
	return nil
}

// Keep takes from the budget what a value needs. The error may also be that it is
// nested too deep, or that the time is over.
func (b *Budget) Keep(value any) error {
	m := measurement{left: b.left}
	m.add(value)
	b.left = m.left
	if m.deep {
		return errDeep
	}
	return b.Check()
}

// KeepBytes takes a number of bytes.
func (b *Budget) KeepBytes(n int) error {
	b.left -= n
	return b.Check()
}

// Used returns how many bytes were taken.
func (b *Budget) Used() int { return min(b.bytes-b.left, b.bytes) }
