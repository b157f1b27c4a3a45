// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tenancy.capsule.io/test/framework"
)

// blockWithin is how long clients begin further requests. Some answers take a
// hundred times as long as others, and the middle of few of those is as good.
const blockWithin = 5 * time.Second

// variant is one way to ask for the same.
type variant struct {
	name string
	// system is the one that the clients ask.
	system  *framework.System
	clients []*client
	// question returns the n-th request of a block, and the names that the answer
	// has to hold.
	question func(n int) (question, []string)
	// metrics, if set, asks for the metrics of the system's kube-apiserver: how long
	// authorizations take is measured, too.
	metrics *client
}

// contest is what variants are compared in. The baseline is one of them.
type contest struct {
	Measurement string
	// Of says what is asked for, as in "json".
	Of       string
	Clients  int
	Baseline string
	variants []variant
	// requests is how many each client sends in a round, if not as many as the options
	// say.
	requests int
}

// block is what one variant did in one round.
type block struct {
	// millis are the latencies of all requests.
	millis    []float64
	perSecond float64
	// cpu is what the servers took for 1,000 requests.
	cpu  serversCPU
	size int64
	gzip bool
	// authorization is the microseconds of one, nil if that was not measured.
	authorization *float64
}

// run lets the contests take place in several rounds. In a round every variant has
// one block; the first one in a round is another one in the next.
func (e *environment) run(ctx context.Context, contests []contest) ([]comparison, error) {
	blocks := make([]map[string][]block, len(contests))
	for i := range blocks {
		blocks[i] = map[string][]block{}
	}
	for round := range e.options.Rounds {
		progress("%s: round %d of %d", contests[0].Measurement, round+1, e.options.Rounds)
		for i, c := range contests {
			for _, v := range rotate(c.variants, round) {
				b, err := v.block(ctx, v.clients[:c.Clients], cmp.Or(c.requests, e.options.Requests))
				if err != nil {
					return nil, fmt.Errorf("%s, %s, %d clients: %w", c.Of, v.name, c.Clients, err)
				}
				blocks[i][v.name] = append(blocks[i][v.name], b)
			}
		}
	}
	comparisons := make([]comparison, len(contests))
	for i, c := range contests {
		comparisons[i] = c.compare(blocks[i])
	}
	return comparisons, nil
}

// rotate returns the elements from the n-th on, counted round and round.
func rotate[T any](elements []T, n int) []T {
	n %= len(elements)
	return slices.Concat(elements[n:], elements[:n])
}

// block checks an answer to every client, untimed, and then times requests.
func (v variant) block(ctx context.Context, clients []*client, requests int) (block, error) {
	var b block
	for n, c := range clients {
		q, want := v.question(n)
		got, err := c.check(ctx, q, want)
		if err != nil {
			return b, err
		}
		b.size, b.gzip = got.size, got.gzip
	}
	// What this process has left behind is not the next one's to clean up.
	runtime.GC()

	authorizationsBefore, err := v.authorizations(ctx)
	if err != nil {
		return b, err
	}
	cpuBefore, err := cpuOf(v.system)
	if err != nil {
		return b, err
	}
	start := time.Now()
	if b.millis, err = v.ask(ctx, clients, requests); err != nil {
		return b, err
	}
	elapsed := time.Since(start)
	cpuAfter, err := cpuOf(v.system)
	if err != nil {
		return b, err
	}
	b.perSecond = float64(len(b.millis)) / elapsed.Seconds()
	b.cpu = cpuAfter.since(cpuBefore).per(len(b.millis), 1000)
	if v.metrics == nil {
		return b, nil
	}
	authorizationsAfter, err := v.authorizations(ctx)
	if err != nil {
		return b, err
	}
	mean, err := authorizationsAfter.meanSince(authorizationsBefore, len(b.millis))
	b.authorization = &mean
	return b, err
}

// authorizations returns those so far, if they are to be measured.
func (v variant) authorizations(ctx context.Context) (authorizations, error) {
	if v.metrics == nil {
		return authorizations{}, nil
	}
	return authorizationsOf(ctx, v.metrics)
}

// ask has every client send its requests, one after the other, and returns how
// many milliseconds each took.
func (v variant) ask(ctx context.Context, clients []*client, requests int) ([]float64, error) {
	millis := make([][]float64, len(clients))
	group, ctx := errgroup.WithContext(ctx)
	end := time.Now().Add(blockWithin)
	for number, c := range clients {
		group.Go(func() error {
			own := make([]float64, 0, requests)
			for i := range requests {
				// Clients that ask at the same time ask for different names.
				q, _ := v.question(i*len(clients) + number)
				got, err := c.ask(ctx, q, io.Discard)
				if err != nil {
					return err
				}
				own = append(own, got.elapsed.Seconds()*1000)
				if time.Now().After(end) {
					break
				}
			}
			millis[number] = own
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(millis...), err
}
