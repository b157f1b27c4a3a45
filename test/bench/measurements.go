// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// measurement is one thing that is measured: run adds to the report what it found,
// and the targets that it concerns.
type measurement struct {
	name string
	run  func(context.Context, *environment, *report) error
}

// measurements returns everything that is measured, in the order of the report.
// SCALE is the last one, for nothing else runs beside the others.
func measurements() []measurement {
	return []measurement{
		{"LIST", measureList},
		{"GET", measureGet},
		{"WATCHLIST", measureWatchList},
		{"START", measureStart},
		{"WATCH", measureWatch},
		{"SCALE", measureScale},
	}
}
