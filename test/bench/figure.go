// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// figure is something that was found out and is compared with nothing.
type figure struct {
	Measurement string `json:"measurement"`
	What        string `json:"what"`
	Value       spread `json:"value"`
	Unit        string `json:"unit,omitempty"`
}

// String returns the value, and the range if there were several.
func (f figure) String() string {
	text := fmt.Sprintf("%.1f %s", f.Value.Median, f.Unit)
	if f.Value.Min != f.Value.Max {
		text += fmt.Sprintf(" (%.1f to %.1f)", f.Value.Min, f.Value.Max)
	}
	return text
}
