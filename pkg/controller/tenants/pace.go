// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	// restFactor is how many times as long as a status took to be written it is left
	// alone then, but for a change of the spec: a status is as long as its tenant is
	// large, and grows with each namespace while many are made.
	restFactor = 50
	// maxRest is how old what a status says may become that way.
	maxRest = 10 * time.Second
)

// pace says when statuses may be written again. It can be used concurrently.
type pace struct {
	clock clock.PassiveClock
	lock  sync.Mutex
	// next is protected by lock.
	next map[types.UID]time.Time
}

func newPace(c clock.PassiveClock) *pace { return &pace{clock: c, next: map[types.UID]time.Time{}} }

// rest returns how long the status of a Tenant is to be left alone.
func (p *pace) rest(uid types.UID) time.Duration {
	p.lock.Lock()
	defer p.lock.Unlock()
	rest := p.next[uid].Sub(p.clock.Now())
	if rest <= 0 {
		delete(p.next, uid)
		return 0
	}
	return rest
}

// wrote takes note of a status that was begun to be written at a time and is now.
func (p *pace) wrote(uid types.UID, begun time.Time) {
	p.lock.Lock()
	defer p.lock.Unlock()
	now := p.clock.Now()
	p.next[uid] = now.Add(min(restFactor*now.Sub(begun), maxRest))
}
