// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// restFactor is how many times as long as a status took to be written it is left
	// alone then, but for a change of the spec: a status is as long as its tenant is
	// large, and grows with each namespace while many are made.
	restFactor = 100
	// maxRest is how old what a status says may become that way.
	maxRest = 20 * time.Second
	// maxResting is of how many Tenants that is known. One more, and another is written
	// more often.
	maxResting = 1 << 14
)

// pace says when statuses may be written again. It can be used concurrently.
type pace struct {
	clock clock.PassiveClock
	// next is when the status of a Tenant may be written again, by its UID.
	next *cache.LRUExpireCache
}

func newPace(c clock.PassiveClock) *pace {
	return &pace{clock: c, next: cache.NewLRUExpireCacheWithClock(maxResting, c)}
}

// rest returns how long the status of a Tenant is to be left alone.
func (p *pace) rest(uid types.UID) time.Duration {
	value, _ := p.next.Get(uid)
	next, ok := value.(time.Time)
	if !ok {
		return 0
	}
	return max(0, next.Sub(p.clock.Now()))
}

// wrote takes note of a status that was begun to be written at a time and is now.
func (p *pace) wrote(uid types.UID, begun time.Time) {
	now := p.clock.Now()
	rest := min(restFactor*now.Sub(begun), maxRest)
	p.next.Add(uid, now.Add(rest), rest)
}
