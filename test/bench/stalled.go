// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

const (
	// stalledShare is which part of the watches is never read: one in ten.
	stalledShare = 10
	// stalledWindow is how many bytes the server may send of a watch that is not
	// read: the least that HTTP/2 clients of Go can ask for.
	stalledWindow = 64 << 10
)

// measureStalled measures what watches that nobody reads cost the server and the
// others. They ask tenancy-apiserver itself, as kube-apiserver would: that one
// keeps megabytes of each watch, and the server would not notice for long.
func measureStalled(ctx context.Context, e *environment, r *report) error {
	stalled := e.options.Watches / stalledShare
	reading := e.options.Watches - stalled
	if stalled == 0 || e.options.StalledEvents == 0 {
		return nil
	}
	s, err := e.openWatches(ctx, reading)
	if err != nil {
		return err
	}
	defer s.close()
	unread, err := e.newStalledClient()
	if err != nil {
		return err
	}
	for i := range stalled {
		user := watcherName(reading + i)
		body, err := unread.asRemote(user).open(ctx, question{target: viewPath + "?" + watchListQuery, accept: jsonAccept})
		if err != nil {
			return fmt.Errorf("watch of %s: %w", user, err)
		}
		defer body.Close()
	}
	of := fmt.Sprintf("%d watches, %d of them not read", e.options.Watches, stalled)
	if _, err := e.reportMemory(r, resident, fmt.Sprintf("%s, before %d events", of, e.options.StalledEvents)); err != nil {
		return err
	}
	endedBefore, err := e.endedBySlowness(ctx)
	if err != nil {
		return err
	}
	progress("WATCH, %d watches of which %d are not read: %d events for all", e.options.Watches, stalled, e.options.StalledEvents)
	each, last, err := e.announce(ctx, s, e.options.StalledEvents)
	if err != nil {
		return err
	}
	if _, err := e.reportMemory(r, resident, of+", after them"); err != nil {
		return err
	}
	ended, err := e.endedBySlowness(ctx)
	if err != nil {
		return err
	}
	others := fmt.Sprintf(", %d others not read", stalled)
	r.Latencies = append(r.Latencies,
		samples{each}.ofWatches(changeToEach+others, reading, fromRequest),
		samples{last}.ofWatches(changeToLast+others, reading, fromRequest))
	r.Figures = append(r.Figures, figure{
		Measurement: "WATCH", What: "ended by the server because they were not read", Value: once(ended - endedBefore), Unit: "watches",
	})
	what := fmt.Sprintf("WATCH, %s: %s of the others, p99 from the %s", of, changeToLast, fromRequest)
	r.Targets = append(r.Targets, atMost(what, eventLimit, "ms", samples{last}.p99()))
	return nil
}

// newStalledClient returns a client of tenancy-apiserver that takes little of what
// nobody reads.
func (e *environment) newStalledClient() (*client, error) {
	tlsConfig, err := rest.TLSConfigFor(e.proxyConfig)
	if err != nil {
		return nil, fmt.Errorf("configure TLS: %w", err)
	}
	return &client{host: e.proxyConfig.Host, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:    tlsConfig,
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: stalledWindow},
	}}}, nil
}

// asRemote returns the client as one that speaks for a user who watches.
func (c *client) asRemote(user string) *client {
	other := *c
	other.header = http.Header{"X-Remote-User": {user}, "X-Remote-Group": {watchersGroup, "system:authenticated"}}
	return &other
}
