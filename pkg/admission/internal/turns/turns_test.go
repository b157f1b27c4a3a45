// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package turns

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTurns(t *testing.T) {
	var turns Turns[string]
	done, err := turns.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := turns.Take(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		if next, err := turns.Take(context.WithoutCancel(ctx), "a"); err == nil {
			next()
		}
	}()
	done()
	<-waiting
	if turns.Len() != 0 {
		t.Errorf("%d keys are kept", turns.Len())
	}
}
