// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
)

// endedBySlowness returns how many watches tenancy-apiserver has ended because
// they were not read.
func (e *environment) endedBySlowness(ctx context.Context) (float64, error) {
	var body bytes.Buffer
	if _, err := e.asOperator.ask(ctx, question{target: "/metrics", accept: "text/plain"}, &body); err != nil {
		return 0, err
	}
	return sumOf(body.String(), "tenancy_apiserver_watches_ended_total", `cause="slowness"`)
}

// sumOf adds up the values of a metric that have a label. There may be none.
func sumOf(metrics, name, label string) (float64, error) {
	sum := 0.0
	for line := range strings.Lines(metrics) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(series, name+"{") || !strings.Contains(series, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		sum += v
	}
	return sum, nil
}
