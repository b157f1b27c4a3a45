// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package render makes objects of what users write: values with placeholders, and Go
// templates.
//
// Templates are written by tenants, and are run by a process that all tenants share.
// So a template reads nothing but its data, and is given the same answer each time:
// no environment, no files, no network, no clock, no chance. And whatever it says, it
// ends: text/template cannot be interrupted, and knows no limits.
//
// Invariants:
//   - Each turn of a loop and each call, of a template or a function, is counted and
//     looks at the time. Nothing else in a template can take long.
//   - No template calls itself, and neither blocks, calls nor values are deep in each
//     other: what overflows the stack ends the process.
//   - No function gets, returns or prints a value that is larger than maxValue when it
//     is written out; what multiplies its arguments is asked beforehand.
//   - YAML has no aliases: what is parsed is as large as its text says.
//   - The data that a template is given is its own copy.
package render

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// Names are what the placeholders in values stand for. What is empty has none.
type Names struct {
	Tenant, Namespace string
}

var placeholder = regexp.MustCompile(`\{\{\s*(tenant\.name|namespace)\s*\}\}`)

// String replaces {{ tenant.name }} and {{ namespace }}. Other braces stay as they
// are. The error says which placeholder stands for nothing here.
func String(value string, names Names) (string, error) {
	if !strings.Contains(value, "{{") {
		return value, nil
	}
	var errs []error
	value = placeholder.ReplaceAllStringFunc(value, func(match string) string {
		switch name := strings.TrimSpace(strings.Trim(match, "{}")); {
		case name == "namespace" && names.Namespace != "":
			return names.Namespace
		case name == "tenant.name" && names.Tenant != "":
			return names.Tenant
		default:
			errs = append(errs, fmt.Errorf("{{ %s }} stands for nothing in this scope", name))
			return match
		}
	})
	return value, errors.Join(errs...)
}

// Value replaces the placeholders in the strings of a JSON value, but for the keys of
// its objects. The value itself is not changed: what has no placeholders is shared
// with the result. size is how many bytes what is not shared needs.
func Value(value any, names Names) (result any, size int, err error) {
	switch value := value.(type) {
	case string:
		expanded, err := String(value, names)
		if expanded != value {
			size = len(expanded)
		}
		return expanded, size, err
	case map[string]any:
		var expanded map[string]any
		for key, old := range value {
			now, n, err := Value(old, names)
			if err != nil {
				return nil, 0, err
			}
			if n == 0 {
				continue
			}
			if expanded == nil {
				expanded, size = maps.Clone(value), elementSize*len(value)
			}
			expanded[key], size = now, size+n
		}
		if expanded == nil {
			return value, 0, nil
		}
		return expanded, size, nil
	case []any:
		var expanded []any
		for i, old := range value {
			now, n, err := Value(old, names)
			if err != nil {
				return nil, 0, err
			}
			if n == 0 {
				continue
			}
			if expanded == nil {
				expanded, size = append(expanded, value...), elementSize*len(value)
			}
			expanded[i], size = now, size+n
		}
		if expanded == nil {
			return value, 0, nil
		}
		return expanded, size, nil
	default:
		return value, 0, nil
	}
}
