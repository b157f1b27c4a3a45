// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// rewritten does to decoded JSON what JSON does to a stream.
func rewritten(r *Resource, value any) any {
	root, ok := value.(map[string]any)
	if !ok {
		return value
	}
	typed := r.TypedItems && root["kind"] == r.View.Kind+listSuffix
	renameIn(r, root)
	if items, ok := root["items"].([]any); ok {
		for _, item := range items {
			item, ok := item.(map[string]any)
			switch {
			case !ok:
			case typed:
				item["kind"], item["apiVersion"] = r.Native.Kind, r.Native.GroupVersion().String()
			default:
				renameIn(r, item)
			}
		}
	}
	column := -1
	if columns, ok := root["columnDefinitions"].([]any); ok {
		for i, c := range columns {
			if definition, ok := c.(map[string]any); ok && definition["name"] == tenantColumn && column < 0 {
				column = i
			}
		}
		if column >= 0 {
			root["columnDefinitions"] = slices.Delete(columns, column, column+1)
		}
	}
	if rows, ok := root["rows"].([]any); ok {
		for _, row := range rows {
			row, ok := row.(map[string]any)
			if !ok {
				continue
			}
			if object, ok := row["object"].(map[string]any); ok {
				renameIn(r, object)
			}
			if cells, ok := row["cells"].([]any); ok && column >= 0 && column < len(cells) {
				row["cells"] = slices.Delete(cells, column, column+1)
			}
		}
	}
	return root
}

func renameIn(r *Resource, object map[string]any) {
	if kind, ok := object["kind"].(string); ok {
		object["kind"] = r.kind(kind)
	}
	if apiVersion, ok := object["apiVersion"].(string); ok {
		object["apiVersion"] = r.apiVersion(apiVersion)
	}
}

// hasDuplicates reports whether an object in one of the JSON values has two fields of one
// name, of which decoders choose one.
func hasDuplicates(data []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := d.ReadValue(); err != nil {
			return !errors.Is(err, io.EOF)
		}
	}
}
