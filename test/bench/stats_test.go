// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given []float64
		want  float64
	}{
		"one":      {given: []float64{3}, want: 3},
		"odd":      {given: []float64{9, 1, 5}, want: 5},
		"even":     {given: []float64{4, 1, 2, 100}, want: 3},
		"outliers": {given: []float64{1, 1, 1, 1000, 1000}, want: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := append([]float64(nil), test.given...)
			assert.InDelta(t, test.want, median(given), 1e-9)
			assert.Equal(t, test.given, given, "the values keep their order")
		})
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	tests := map[string]struct {
		given   []float64
		p, want float64
	}{
		"p99 of a hundred": {given: hundred, p: 99, want: 99},
		"p50 of a hundred": {given: hundred, p: 50, want: 50},
		"all":              {given: hundred, p: 100, want: 100},
		"tiny":             {given: hundred, p: 0.001, want: 1},
		"p99 of one":       {given: []float64{7}, p: 99, want: 7},
		"p99 of three":     {given: []float64{7, 9, 8}, p: 99, want: 9},
		"p50 of four":      {given: []float64{4, 3, 2, 1}, p: 50, want: 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.InDelta(t, test.want, percentile(test.given, test.p), 1e-9)
		})
	}
}

// TestByRound has a round in which the machine was ten times slower, for both
// sides: the ratio does not see it.
func TestByRound(t *testing.T) {
	t.Parallel()
	measured, baseline := []float64{6, 50, 8}, []float64{10, 100, 10}
	tests := map[string]struct {
		given func(measured, baseline float64) float64
		want  spread
	}{
		"ratio":      {given: ratio, want: spread{Median: 0.6, Min: 0.5, Max: 0.8}},
		"difference": {given: difference, want: spread{Median: -4, Min: -50, Max: -2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := byRound(measured, baseline, test.given)
			assert.InDelta(t, test.want.Median, got.Median, 1e-9)
			assert.InDelta(t, test.want.Min, got.Min, 1e-9)
			assert.InDelta(t, test.want.Max, got.Max, 1e-9)
		})
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	given := []string{"a", "b", "c"}
	for round, want := range [][]string{{"a", "b", "c"}, {"b", "c", "a"}, {"c", "a", "b"}, {"a", "b", "c"}} {
		assert.Equal(t, want, rotate(given, round))
	}
	assert.Equal(t, []string{"a", "b", "c"}, given)
}

func TestFigure(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "2.5 MiB", figure{Value: once(2.5), Unit: "MiB"}.String())
	assert.Equal(t, "3.0 ms (1.0 to 9.0)", figure{Value: spreadOf([]float64{9, 1, 3}), Unit: "ms"}.String())
}
