// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

const (
	readyPoll   = 5 * time.Millisecond
	readyWithin = time.Minute
)

// measureStart starts tenancy-apiserver anew, with everything there.
func measureStart(ctx context.Context, e *environment, r *report) error {
	var rounds []float64
	for round := range e.options.Rounds {
		progress("START: round %d of %d", round+1, e.options.Rounds)
		if err := e.system.Server.Stop(); err != nil {
			return fmt.Errorf("stop tenancy-apiserver: %w", err)
		}
		elapsed, err := e.startServer(ctx)
		if err != nil {
			return fmt.Errorf("start tenancy-apiserver: %w", err)
		}
		rounds = append(rounds, millis(elapsed))
	}
	r.Figures = append(r.Figures, figure{Measurement: "START", What: e.size() + ": process to ready", Value: spreadOf(rounds), Unit: "ms"})
	// kube-apiserver may have taken it for unavailable.
	return e.settle(ctx)
}

// startServer starts tenancy-apiserver and returns how long it took until it said
// that it is ready.
func (e *environment) startServer(ctx context.Context) (time.Duration, error) {
	// As a kubelet asks: without a credential.
	probe, err := newClient(&rest.Config{Host: e.system.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: e.system.ControlPlane.CACert(),
	}}, nil)
	if err != nil {
		return 0, err
	}
	var elapsed time.Duration
	var reason error
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	// Start asks more rarely than is precise here.
	group.Go(func() error { return e.system.Server.Start(ctx) })
	group.Go(func() error {
		err := wait.PollUntilContextTimeout(ctx, readyPoll, readyWithin, true, func(ctx context.Context) (bool, error) {
			_, reason = probe.ask(ctx, question{target: "/readyz", accept: "*/*"}, io.Discard)
			elapsed = time.Since(start)
			return reason == nil, nil
		})
		if err != nil {
			return fmt.Errorf("await readiness: %w: %w", err, reason)
		}
		return nil
	})
	err = group.Wait()
	return elapsed, err
}
