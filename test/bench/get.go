// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// measureGet gets one of alice's namespaces, as alice.
func measureGet(ctx context.Context, e *environment, r *report) error {
	var contests []contest
	for _, clients := range e.options.Clients {
		for _, names := range []struct {
			of   string
			name func(n int) string
		}{
			{"same name", func(int) string { return e.visible[0] }},
			{"new name", func(n int) string { return e.visible[n%len(e.visible)] }},
		} {
			contests = append(contests, contest{
				Measurement: "GET", Of: names.of, Clients: clients, Baseline: native,
				variants: []variant{
					{name: theView, system: e.system, clients: e.asAlice, question: get(viewPath, names.name)},
					{name: native, system: e.system, clients: e.asAlice, question: get(nativePath, names.name)},
				},
			})
		}
	}
	comparisons, err := e.run(ctx, contests)
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, comparisons...)
	for _, c := range comparisons {
		if c.Clients == 1 {
			what := fmt.Sprintf("GET, %s, 1 client: median, over %s", c.Of, c.Baseline)
			r.Targets = append(r.Targets, atMost(what, 0.3, "ms", c.of(theView).MillisDifference))
		}
	}
	return nil
}

// get returns the requests that get the object of the n-th name.
func get(path string, name func(n int) string) func(int) (question, []string) {
	return func(n int) (question, []string) {
		name := name(n)
		return question{target: path + "/" + name, accept: jsonAccept}, []string{name}
	}
}
