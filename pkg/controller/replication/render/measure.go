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
)

// check returns an error if a value is too large when it is written out: what is in
// it twice counts twice, and what is in itself is too large.
func check(values ...any) error {
	left := maxValue
	for _, value := range values {
		measure(reflect.ValueOf(value), &left)
	}
	if left < 0 {
		return fmt.Errorf("a value is larger than %d KiB", maxValue>>10)
	}
	return nil
}

// measure takes what a value needs from what is left, and ends when nothing is.
func measure(value reflect.Value, left *int) {
	if *left -= elementSize; *left < 0 {
		return
	}
	switch value.Kind() {
	case reflect.String:
		*left -= value.Len()
	case reflect.Interface, reflect.Pointer:
		if !value.IsNil() {
			measure(value.Elem(), left)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < value.Len() && *left >= 0; i++ {
			measure(value.Index(i), left)
		}
	case reflect.Map:
		for entries := value.MapRange(); *left >= 0 && entries.Next(); {
			measure(entries.Key(), left)
			measure(entries.Value(), left)
		}
	case reflect.Struct:
		for i := 0; i < value.NumField() && *left >= 0; i++ {
			measure(value.Field(i), left)
		}
	default:
	}
}
