// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// limitRetry is what a user with too many watches is told to wait for, in seconds.
const limitRetry = 10

// watchLimit counts the open watches of every user. It may be used concurrently.
type watchLimit struct {
	// max is how many a user may have; 0 for any number.
	max  int
	lock sync.Mutex
	open map[string]int // protected by lock
}

func newWatchLimit(limit int) *watchLimit {
	return &watchLimit{max: limit, open: map[string]int{}}
}

// acquire counts a watch of the user until the context is done. It returns an
// error, 429, if the user has too many already.
func (l *watchLimit) acquire(ctx context.Context, user string) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.max > 0 && l.open[user] >= l.max {
		return apierrors.NewTooManyRequests(fmt.Sprintf("user %q has %d watches open, as many as the server allows (--max-watches-per-user): close one, or share one among clients", user, l.max), limitRetry)
	}
	l.open[user]++
	context.AfterFunc(ctx, func() { l.release(user) })
	return nil
}

func (l *watchLimit) release(user string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.open[user]--; l.open[user] == 0 {
		delete(l.open, user)
	}
}
