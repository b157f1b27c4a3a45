// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"

	"tenancy.capsule.io/pkg/registry"
)

const (
	viewPath   = "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	nativePath = "/api/v1/namespaces"

	jsonAccept     = "application/json"
	protobufAccept = "application/vnd.kubernetes.protobuf"
	tableAccept    = "application/json;as=Table;v=v1;g=meta.k8s.io"

	theView          = "view"
	theViewDirect    = "view, direct"
	native           = "native"
	nativeCached     = "native, resourceVersion=0"
	nativeConsistent = "native, consistent"
)

// measureList lists alice's namespaces in every way and every format.
func measureList(ctx context.Context, e *environment, r *report) error {
	var contests []contest
	for _, clients := range e.options.Clients {
		for _, format := range []struct{ name, accept string }{
			{"json", jsonAccept}, {"protobuf", protobufAccept}, {"table", tableAccept},
		} {
			contests = append(contests, contest{
				Measurement: "LIST", Of: format.name, Clients: clients, Baseline: nativeCached, variants: e.lists(format.accept),
			})
		}
	}
	comparisons, err := e.run(ctx, contests)
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, comparisons...)
	for _, c := range comparisons {
		if c.Of != "json" {
			continue
		}
		view := c.of(theView)
		what := fmt.Sprintf("LIST of %d of %d, json", e.options.Visible, e.options.Namespaces)
		switch c.Clients {
		case 1:
			r.Targets = append(r.Targets, atMost(what+", 1 client: median, to "+c.Baseline, 0.7, "x", view.LatencyRatio))
		case 8:
			r.Targets = append(r.Targets, atLeast(what+", 8 clients: req/s, to "+c.Baseline, 1.5, "x", view.ThroughputRatio))
		}
	}
	return e.profileList(ctx)
}

// labelOf returns the selector of the namespaces of a tenant.
func labelOf(tenant int) string { return registry.TenantLabel + "=" + tenantName(tenant) }

// lists returns the ways to list alice's namespaces.
func (e *environment) lists(accept string) []variant {
	byLabel := url.Values{"labelSelector": {labelOf(0)}}
	cached := url.Values{"labelSelector": byLabel["labelSelector"], "resourceVersion": {"0"}}
	list := func(target string) func(int) (question, []string) {
		return func(int) (question, []string) { return question{target: target, accept: accept}, e.visible }
	}
	return []variant{
		{name: theView, system: e.system, clients: e.asAlice, question: list(viewPath)},
		{name: theViewDirect, system: e.system, clients: e.asProxy, question: list(viewPath)},
		{name: nativeCached, system: e.system, clients: e.asAdmin, question: list(nativePath + "?" + cached.Encode())},
		{name: nativeConsistent, system: e.system, clients: e.asAdmin, question: list(nativePath + "?" + byLabel.Encode())},
	}
}
