// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// rounds is how often everything has to be right in between.
	rounds = 5
	// calmFor is how long nobody kills the controller after that, while edits go on.
	calmFor = 1500 * time.Millisecond
	// nudges is how many edits are made then, one at a time.
	nudges = 4
)

// TestControllerKilled kills the controller at random moments while Tenants, and what
// they select, change.
func TestControllerKilled(t *testing.T) {
	s := newSystem(t)
	start := *seed
	if start == 0 {
		start = rand.Uint64()
	}
	t.Logf("seed %d", start)
	r := newRecorder(t, s.admin)
	c := newChurn(t, s.admin, start)
	k := &killer{controller: s.controller, recorder: r, random: newRandom(start, 1<<63)}
	require.NoError(t, c.edit(t.Context(), initialEdits))

	var calms []calm
	begin := time.Now()
	k.start(t.Context())
	for round := range rounds {
		// In some rounds nobody else collects what earlier lives have left.
		thaw := func() {}
		if round%2 == 1 {
			thaw = freeze(t, s.controlPlane.ControllerManager())
		}
		c.start(t)
		for range *kills*(round+1)/rounds - *kills*round/rounds {
			k.killSometime(t)
		}
		c.stop(t)
		k.awaitReady(t)
		r.settle(t, "after kills")
		thaw()

		quietSince := time.Now()
		c.start(t)
		timeout(t, calmFor)
		c.stop(t)
		r.settle(t, "without kills")
		for range nudges {
			require.NoError(t, c.editOnce(t.Context(), edit.nudge))
			r.settle(t, "after one edit")
		}
		calms = append(calms, calm{quietSince, time.Now()})
	}
	r.awaitCleared(t)
	r.settle(t, "in the end")
	t.Logf("%d kills and %d edits in %s", len(k.lives)-1, c.made.Load(), time.Since(begin).Round(time.Second))
	r.requireQuiet(t, "in the end")
	requireSameFromScratch(t, s, r)

	r.requireQuiet(t, "from scratch")
	require.NoError(t, r.verify(t.Context()))
	judge := newReplay(k.lives, calms, c.byHand)
	events := r.history()
	judging := time.Now()
	violations := judge.run(events)
	t.Logf("judged %d events, %d of RBAC: %d gains, %d of them from versions that never met, %d losses in calm times and %d writes after others, in %s",
		len(events), r.writes(), judge.gains, judge.mixed, judge.losses, judge.ordered, time.Since(judging).Round(time.Millisecond))
	assert.Empty(t, violations, "seed %d, edits in %s:\n%s", start, c.log.Name(), strings.Join(violations, "\n"))
	// Caches of different kinds do not wait for one another, but they hardly lag.
	assert.LessOrEqual(t, judge.mixed, judge.gains/100)
	// What nobody notices would let the test pass.
	assert.Greater(t, judge.gains, 20**kills)
	assert.Greater(t, judge.losses, 50)
	assert.Greater(t, judge.ordered, *kills/2)
	requireNoFaults(t, s)
	requireNothingForbidden(t, s)
}
