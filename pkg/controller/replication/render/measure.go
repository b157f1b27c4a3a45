// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"reflect"
)

const (
	// maxValue is how large a value may be in a template, in bytes.
	maxValue = 256 << 10
	// elementSize is what an element of a list or a map counts besides its content.
	elementSize = 64
	// maxValueDepth is how many lists and maps may be in each other: what walks
	// through values calls itself for each.
	maxValueDepth = 100
)

var errDeep = fmt.Errorf("more than %d lists and maps are in each other", maxValueDepth)

// check returns an error if a value is too large when it is written out: what is in
// it twice counts twice, and what is in itself is too large.
func check(values ...any) error {
	m := measurement{left: maxValue}
	for _, value := range values {
		m.add(value)
	}
	switch {
	case m.deep:
		return errDeep
	case m.left < 0:
		return fmt.Errorf("a value is larger than %d KiB", maxValue>>10)
	}
	return nil
}

// measurement takes what values need from what is left.
type measurement struct {
	// left is negative when there was not enough.
	left int
	// deep says that there is more in a value than was looked at.
	deep bool
}

func (m *measurement) add(value any) { m.measure(reflect.ValueOf(value), 0) }

// measure looks at a value that is in so many lists and maps, until nothing is left.
func (m *measurement) measure(value reflect.Value, depth int) {
	if m.left -= elementSize; m.left < 0 {
		return
	}
	switch value.Kind() {
	case reflect.String:
		m.left -= value.Len()
	case reflect.Interface, reflect.Pointer:
		if !value.IsNil() {
			m.measure(value.Elem(), depth)
		}
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if depth == maxValueDepth {
			m.deep = true
			return
		}
		m.elements(value, depth+1)
	default:
	}
}

func (m *measurement) elements(value reflect.Value, depth int) {
	switch value.Kind() {
	case reflect.Map:
		for entries := value.MapRange(); m.left >= 0 && entries.Next(); {
			m.measure(entries.Key(), depth)
			m.measure(entries.Value(), depth)
		}
	case reflect.Struct:
		for i := 0; i < value.NumField() && m.left >= 0; i++ {
			m.measure(value.Field(i), depth)
		}
	default:
		for i := 0; i < value.Len() && m.left >= 0; i++ {
			m.measure(value.Index(i), depth)
		}
	}
}
