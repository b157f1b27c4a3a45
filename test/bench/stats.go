// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// percentile returns the smallest of the values that p percent of them do not
// exceed (the nearest rank). There has to be a value, and p to be above 0.
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median returns the value in the middle, or the mean of the two that are. There
// has to be a value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread is a figure of several rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// once is the spread of what was measured once.
func once(value float64) spread { return spreadOf([]float64{value}) }

// spreadOf returns the spread of the rounds, of which there has to be one.
func spreadOf(rounds []float64) spread {
	return spread{Median: median(rounds), Min: slices.Min(rounds), Max: slices.Max(rounds)}
}

// byRound computes a figure of each round from two that were measured in it, and
// returns its spread. There are as many of either, and at least one.
func byRound(measured, baseline []float64, figure func(measured, baseline float64) float64) spread {
	figures := make([]float64, len(measured))
	for i := range measured {
		figures[i] = figure(measured[i], baseline[i])
	}
	return spreadOf(figures)
}

func ratio(measured, baseline float64) float64      { return measured / baseline }
func difference(measured, baseline float64) float64 { return measured - baseline }
