// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import "sync"

// parallel is how many requests InParallel makes at once.
const parallel = 8

// InParallel calls a function that makes requests for each item, for several at once,
// and returns the error of each, in order of the items.
func InParallel[T any](items []T, do func(T) error) []error {
	errs := make([]error, len(items))
	tokens := make(chan struct{}, parallel)
	var group sync.WaitGroup
	for i, item := range items {
		tokens <- struct{}{}
		group.Go(func() {
			defer func() { <-tokens }()
			errs[i] = do(item)
		})
	}
	group.Wait()
	return errs
}
