// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// samples are the milliseconds that something took, of each round.
type samples [][]float64

// latency is how long something took.
type latency struct {
	// What happened, while so many watches were open and read, counted From the
	// request that caused it or from its response.
	What    string `json:"what"`
	Watches int    `json:"watches"`
	From    string `json:"from"`
	// The figures are of the samples of all rounds.
	Samples      int     `json:"samples"`
	MedianMillis float64 `json:"medianMillis"`
	P99Millis    float64 `json:"p99Millis"`
	MaxMillis    float64 `json:"maxMillis"`
	// P99 is that of the rounds.
	P99 spread `json:"p99"`
}

// latency returns the figures of the samples.
func (s samples) latency(what string, watches int, from string) latency {
	all := slices.Concat(s...)
	return latency{
		What: what, Watches: watches, From: from, Samples: len(all),
		MedianMillis: median(all), P99Millis: percentile(all, 99), MaxMillis: slices.Max(all), P99: s.p99(),
	}
}

// p99 returns the 99th percentiles of the rounds.
func (s samples) p99() spread {
	var p99s []float64
	for _, round := range s {
		p99s = append(p99s, percentile(round, 99))
	}
	return spreadOf(p99s)
}
