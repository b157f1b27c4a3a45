// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"tenancy.capsule.io/pkg/registry"
)

// measureWatchList begins watches of alice's namespaces, and ends each when it has
// told what there is.
func measureWatchList(ctx context.Context, e *environment, r *report) error {
	byLabel := "&" + url.Values{"labelSelector": {registry.TenantLabel + "=" + tenantName(0)}}.Encode()
	begin := func(target string) func(int) (question, []string) {
		return func(int) (question, []string) {
			return question{target: target, accept: jsonAccept, initialEvents: true}, e.visible
		}
	}
	var contests []contest
	for _, clients := range e.options.Clients {
		contests = append(contests, contest{
			Measurement: "WATCHLIST", Of: "json", Clients: clients, Baseline: nativeCached,
			variants: []variant{
				{name: theView, system: e.system, clients: e.asAlice, question: begin(viewPath + "?" + watchListQuery)},
				{name: nativeCached, system: e.system, clients: e.asAdmin, question: begin(nativePath + "?" + watchListQuery + byLabel + "&resourceVersion=0")},
				{name: nativeConsistent, system: e.system, clients: e.asAdmin, question: begin(nativePath + "?" + watchListQuery + byLabel)},
			},
		})
	}
	comparisons, err := e.run(ctx, contests)
	r.Comparisons = append(r.Comparisons, comparisons...)
	return err
}

// copyInitialEvents copies the beginning of a watch, up to the bookmark that ends
// the initial events, and returns its size.
func copyInitialEvents(to io.Writer, from io.Reader) (int64, error) {
	var size int64
	lines := newLines(from)
	for {
		e, err := next(lines)
		if err != nil {
			return size, err
		}
		n, err := to.Write(append(lines.Bytes(), '\n'))
		size += int64(n)
		if err != nil || e.initialEnd {
			return size, err
		}
	}
}

// initialNames returns the names of the objects in the beginning of a watch,
// sorted: servers need not send them in any order.
func initialNames(body []byte, decoder runtime.Decoder) ([]string, error) {
	names := []string{}
	for line := range bytes.Lines(body) {
		var e struct {
			Type   watch.EventType
			Object json.RawMessage
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("decode event: %w", err)
		}
		object, _, err := decoder.Decode(e.Object, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("decode object of event: %w", err)
		}
		switch e.Type {
		case watch.Added:
			name, err := objectNames(object)
			if err != nil {
				return nil, err
			}
			names = append(names, name...)
		case watch.Bookmark:
		default:
			return nil, fmt.Errorf("an initial event is %s", e.Type)
		}
	}
	slices.Sort(names)
	return names, nil
}
