// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/test/framework"
	"tenancy.capsule.io/test/framework/deployment"
)

const (
	theProxy = "native path, through the proxy"
	direct   = "direct"

	// proxyListLimit and passThroughLimit, in milliseconds, and proxyResidentLimit, in
	// MiB, are of the performance budget.
	proxyListLimit     = 1.5
	passThroughLimit   = 0.5
	proxyResidentLimit = 100

	// impersonator has a token, and may ask in the name of those who watch.
	impersonator = "bench-impersonator"
)

// proxied are a proxy and those who ask it.
type proxied struct {
	*framework.Proxy
	// alice asks through the proxy, aliceDirect the API server itself, both with a token.
	alice, aliceDirect []*client
	// watchers is of the impersonator, through the proxy.
	watchers *rest.Config
}

// startProxy starts a proxy without client certificates: with tokens it needs no right.
func (e *environment) startProxy(ctx context.Context) (*proxied, error) {
	proxy, err := e.system.AddProxy(ctx, "bin/tenancy-proxy", deployment.ProxyName, "--client-ca-file=", "--v=0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &proxied{Proxy: proxy}
	asAlice, err := e.system.ControlPlane.TokenConfig(alice, tenantGroup)
	if err != nil {
		return nil, err
	}
	for range slices.Max(e.options.Clients) {
		for clients, config := range map[*[]*client]*rest.Config{&p.alice: proxy.Config(asAlice), &p.aliceDirect: asAlice} {
			c, err := newClient(config, nil)
			if err != nil {
				return nil, err
			}
			*clients = append(*clients, c)
		}
	}
	asImpersonator, err := e.system.ControlPlane.TokenConfig(impersonator)
	if err != nil {
		return nil, err
	}
	p.watchers = proxy.Config(asImpersonator)
	_, err = e.admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: impersonator},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: impersonator}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}, metav1.CreateOptions{})
	return p, ignoreExists("bind impersonator", err)
}

// measureProxy measures what the proxy adds to what it asks.
func measureProxy(ctx context.Context, e *environment, r *report) error {
	p, err := e.startProxy(ctx)
	if err != nil {
		return err
	}
	if err := e.compareProxied(ctx, p, r); err != nil {
		return err
	}
	if err := e.reportProxy(p, r, resident, "after the lists"); err != nil {
		return err
	}
	if err := e.measureProxiedWatches(ctx, p, r); err != nil {
		return err
	}
	return p.Stop()
}

func (e *environment) compareProxied(ctx context.Context, p *proxied, r *report) error {
	var contests []contest
	for _, clients := range e.options.Clients {
		for _, format := range []struct{ name, accept string }{{"list, json", jsonAccept}, {"list, table", tableAccept}} {
			contests = append(contests, contest{
				Measurement: "PROXY", Of: format.name, Clients: clients, Baseline: theView, variants: e.proxiedLists(p, format.accept),
			})
		}
		name := func(n int) string { return e.visible[n%len(e.visible)] }
		contests = append(contests, contest{
			Measurement: "PROXY", Of: "get, passed through", Clients: clients, Baseline: direct,
			variants: []variant{
				{name: theProxy, system: e.system, clients: p.alice, question: get(nativePath, name)},
				{name: direct, system: e.system, clients: p.aliceDirect, question: get(nativePath, name)},
			},
		})
	}
	comparisons, err := e.run(ctx, contests)
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, comparisons...)
	for _, c := range comparisons {
		if c.Clients != 1 {
			continue
		}
		limit := proxyListLimit
		if c.Baseline == direct {
			limit = passThroughLimit
		}
		what := fmt.Sprintf("PROXY, %s, 1 client: median, over %s", c.Of, c.Baseline)
		r.Targets = append(r.Targets, atMost(what, limit, "ms", c.of(theProxy).MillisDifference))
	}
	return nil
}

// proxiedLists returns the ways to list alice's namespaces.
func (e *environment) proxiedLists(p *proxied, accept string) []variant {
	cached := url.Values{"labelSelector": {labelOf(0)}, "resourceVersion": {"0"}}
	list := func(target string) func(int) (question, []string) {
		return func(int) (question, []string) { return question{target: target, accept: accept}, e.visible }
	}
	return []variant{
		{name: theProxy, system: e.system, clients: p.alice, question: list(nativePath)},
		{name: theView, system: e.system, clients: p.aliceDirect, question: list(viewPath)},
		{name: nativeCached, system: e.system, clients: e.asAdmin, question: list(nativePath + "?" + cached.Encode())},
	}
}

// measureProxiedWatches has everybody watch through the proxy, and times events for all.
func (e *environment) measureProxiedWatches(ctx context.Context, p *proxied, r *report) error {
	if err := e.seedWatchers(ctx); err != nil {
		return err
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	s, err := e.openWatchesAt(ctx, p.watchers, nativePath, e.options.Watches)
	if err != nil {
		return err
	}
	defer s.close()
	open := fmt.Sprintf("%d watches", e.options.Watches)
	if err := e.reportProxy(p, r, resident, open+" open"); err != nil {
		return err
	}
	last := samples{}
	for round := range e.options.Rounds {
		progress("PROXY, %d watches: events for all, round %d of %d", len(s.open), round+1, e.options.Rounds)
		_, roundLast, err := e.announce(ctx, s, e.options.Events)
		if err != nil {
			return err
		}
		last = append(last, roundLast)
	}
	latency := last.ofWatches(changeToLast, len(s.open), fromRequest)
	latency.Measurement = "PROXY"
	r.Latencies = append(r.Latencies, latency)
	if err := e.reportProxy(p, r, mostResident, open+", the most there was"); err != nil {
		return err
	}
	most, err := memory(p.Process, mostResident)
	if err != nil {
		return err
	}
	r.Targets = append(r.Targets, atMost("PROXY, "+open+": resident at most", proxyResidentLimit, "MiB", once(most)))
	return nil
}

// reportProxy reports how much of the proxy is, or was, resident when.
func (e *environment) reportProxy(p *proxied, r *report, field, when string) error {
	mebibytes, err := memory(p.Process, field)
	if err != nil {
		return err
	}
	r.Figures = append(r.Figures, figure{Measurement: "PROXY", What: "resident of tenancy-proxy: " + when, Value: once(mebibytes), Unit: "MiB"})
	return nil
}

// asWatcher is the header of a request in the name of one who watches.
func asWatcher(user string) http.Header {
	return http.Header{"Impersonate-User": {user}, "Impersonate-Group": {watchersGroup}}
}
