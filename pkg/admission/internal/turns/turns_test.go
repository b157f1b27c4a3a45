// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package turns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
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

// TestRetry has conflicts be tried again, but nothing else, and nothing for ever.
func TestRetry(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "tenants"}, "oil", errors.New("it changed"))
	failure := errors.New("broken")
	for name, test := range map[string]struct {
		errs      []error
		want      error
		wantTries int
	}{
		"success":               {[]error{nil}, nil, 1},
		"conflicts":             {[]error{conflict, conflict, nil}, nil, 3},
		"another error":         {[]error{failure, nil}, failure, 1},
		"one after a conflict":  {[]error{conflict, failure, nil}, failure, 2},
		"conflicts without end": {[]error{conflict}, context.DeadlineExceeded, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 5, 10, 20 and 20 ms follow each other, give or take a half.
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
				defer cancel()
				tries := 0
				err := Retry(ctx, clock.RealClock{}, 20*time.Millisecond, func() error {
					tries++
					return test.errs[min(tries, len(test.errs))-1]
				})
				if !errors.Is(err, test.want) {
					t.Errorf("got error %v, want %v", err, test.want)
				}
				if tries < test.wantTries || !errors.Is(test.want, context.DeadlineExceeded) && tries != test.wantTries {
					t.Errorf("got %d tries, want %d", tries, test.wantTries)
				}
			})
		})
	}
}
