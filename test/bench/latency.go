// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// samples are the milliseconds that something took, of each round.
type samples [][]float64

// latency is how long something took.
type latency struct {
	Measurement string `json:"measurement"`
	// What happened, so many at once, while so many watches were open and read,
	// counted From the request that caused it or from its response.
	What    string `json:"what"`
	Clients int    `json:"clients"`
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

// latency returns the figures of the samples, which are of what l says.
func (s samples) latency(l latency) latency {
	all := slices.Concat(s...)
	l.Samples, l.MedianMillis, l.P99Millis, l.MaxMillis, l.P99 = len(all), median(all), percentile(all, 99), slices.Max(all), s.p99()
	return l
}

// ofWatches returns the figures of samples of WATCH.
func (s samples) ofWatches(what string, watches int, from string) latency {
	return s.latency(latency{Measurement: "WATCH", What: what, Clients: 1, Watches: watches, From: from})
}

// p99 returns the 99th percentiles of the rounds.
func (s samples) p99() spread {
	var p99s []float64
	for _, round := range s {
		p99s = append(p99s, percentile(round, 99))
	}
	return spreadOf(p99s)
}
