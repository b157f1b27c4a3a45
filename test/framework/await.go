// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// Eventually is how long a component may take to do something, on a machine that is
	// busy.
	Eventually = 30 * time.Second
	// Gone is how long the control plane may take to delete a namespace with everything
	// in it, or to collect garbage.
	Gone = 2 * time.Minute

	tick = 50 * time.Millisecond
)

// AwaitWithin waits until what is read is what is wanted. What cannot be read is waited
// for, too.
func AwaitWithin[T any](tb testing.TB, limit time.Duration, what string, want T, read func(ctx context.Context) (T, error)) {
	tb.Helper()
	var got T
	var readErr error
	err := wait.PollUntilContextTimeout(context.WithoutCancel(tb.Context()), tick, limit, true, func(ctx context.Context) (bool, error) {
		// What was read last counts, not that the time was up.
		if now, err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			got, readErr = now, err
		}
		return readErr == nil && cmp.Equal(want, got), nil
	})
	switch {
	case err == nil:
	case readErr != nil:
		tb.Fatalf("%s: not in %v: %v", what, limit, readErr)
	default:
		tb.Fatalf("%s: not in %v (-want +got):\n%s", what, limit, cmp.Diff(want, got))
	}
}
