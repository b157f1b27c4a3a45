// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// scaleLimit is how much longer a list may take in the larger cluster.
const scaleLimit = 1.1

// measureScale asks for the same in a cluster with several times the namespaces,
// in turn with this one: what disturbs the machine disturbs both.
func measureScale(ctx context.Context, e *environment, r *report) (err error) {
	if e.options.Scale <= 1 {
		return nil
	}
	larger, err := e.newLarger(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, larger.close(err != nil)) }()
	if err := measureStart(ctx, larger, r); err != nil {
		return err
	}
	if _, err := larger.reportMemory(r, resident, "before the lists"); err != nil {
		return err
	}
	// The other one is to be as new.
	if err := e.system.Server.Restart(ctx); err != nil {
		return fmt.Errorf("restart tenancy-apiserver: %w", err)
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	comparisons, err := e.run(ctx, scaleContests(e, larger))
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, comparisons...)
	r.Targets = append(r.Targets, scaleTargets(e, larger, comparisons)...)
	_, err = larger.reportMemory(r, mostResident, "the most there was")
	return err
}

// newLarger starts a system with the namespaces of this one and more.
func (e *environment) newLarger(ctx context.Context) (*environment, error) {
	o := e.options
	o.Namespaces *= o.Scale
	o.dir = filepath.Join(e.dir, "scale")
	return open(ctx, o, false, func(ctx context.Context, larger *environment) error {
		// What controllers make in a namespace is asked for by nobody here, and would
		// take longer than everything else.
		if err := larger.system.ControlPlane.ControllerManager().Stop(); err != nil {
			return fmt.Errorf("stop kube-controller-manager: %w", err)
		}
		if err := larger.seed(ctx); err != nil {
			return err
		}
		return larger.settle(ctx)
	})
}

// scaleContests compares the two clusters in each way of asking.
func scaleContests(e, larger *environment) []contest {
	var contests []contest
	there := larger.scaleWays()
	for i, here := range e.scaleWays() {
		of := here.name
		here.name, there[i].name = e.namespaces(), larger.namespaces()
		for _, clients := range e.options.Clients {
			contests = append(contests, contest{
				Measurement: "SCALE", Of: of, Clients: clients, Baseline: here.name, variants: []variant{here, there[i]},
			})
		}
	}
	return contests
}

// scaleWays returns the ways to get one of alice's namespaces and to list them: the
// last ones are those that leave most for kube-apiserver to clean up.
func (e *environment) scaleWays() []variant {
	name := func(n int) string { return e.visible[n%len(e.visible)] }
	ways := []variant{
		{name: "get, " + theView, system: e.system, clients: e.asAlice, question: get(viewPath, name)},
		{name: "get, " + native, system: e.system, clients: e.asAlice, question: get(nativePath, name)},
	}
	for _, list := range e.lists(jsonAccept) {
		list.name = "list, " + list.name
		ways = append(ways, list)
	}
	return ways
}

func scaleTargets(e, larger *environment, comparisons []comparison) []target {
	var targets []target
	for _, c := range comparisons {
		if c.Of != "list, "+theView {
			continue
		}
		what := fmt.Sprintf("LIST of %d of %d, json", e.options.Visible, larger.options.Namespaces)
		of := c.of(larger.namespaces())
		switch c.Clients {
		case 1:
			targets = append(targets, atMost(fmt.Sprintf("%s, 1 client: median, to %s", what, c.Baseline), scaleLimit, "x", of.LatencyRatio))
		case 8:
			targets = append(targets, atLeast(fmt.Sprintf("%s, 8 clients: req/s, to %s", what, c.Baseline), 1/scaleLimit, "x", of.ThroughputRatio))
		}
	}
	return targets
}
