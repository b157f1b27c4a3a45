// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// planRoom is how much memory it may take to make a plan: what it keeps, that once
	// more for templates to change, and an answer or a document that is decoded.
	planRoom = 160 << 20
	// allRoom is how much memory all plans may take at once. The limit of the pod is
	// more than twice that.
	allRoom = 400 << 20
)

// room is the memory that all plans share. It may be used concurrently.
type room struct{ left *semaphore.Weighted }

func newRoom() *room { return &room{semaphore.NewWeighted(allRoom)} }

// take waits for the room to make a plan. leave has to be called.
func (r *room) take(ctx context.Context) (*place, error) {
	if err := r.left.Acquire(ctx, planRoom); err != nil {
		return nil, err
	}
	return &place{r, planRoom}, nil
}

// place is the part of the room that one plan has.
type place struct {
	in    *room
	bytes int64
}

// shrink gives back what is not needed when the plan is made.
func (p *place) shrink(bytes int) {
	less := p.bytes - min(int64(bytes), p.bytes)
	p.in.left.Release(less)
	p.bytes -= less
}

func (p *place) leave() { p.shrink(0) }
