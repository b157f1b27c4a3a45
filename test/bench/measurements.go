// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
)

// measurement is one thing that is measured: run adds to the report what it found,
// and the targets that it concerns.
type measurement struct {
	name string
	run  func(context.Context, *environment, *report) error
}

// cluster is what measurements begin with: open starts it and fills it. After an
// error nothing runs.
type cluster struct {
	open         func(context.Context, options) (*environment, error)
	measurements []measurement
}

// clusters returns everything that is measured, in the order of the report. One
// cluster is stopped before the next one is started. SCALE is the last one of its
// own, for nothing else runs beside the others.
func clusters() []cluster {
	all := []cluster{
		{openViews, []measurement{
			{"LIST", measureList},
			{"GET", measureGet},
			{"WATCHLIST", measureWatchList},
			{"START", measureStart},
			{"WATCH", measureWatch},
			{"PROXY", measureProxy},
			{"SCALE", measureScale},
		}},
		{openTenants, []measurement{{"TENANT", measureTenant}}},
		{openCompiled, []measurement{{"AUTHZ", measureAuthorization}}},
	}
	return append(all, new(cold).clusters()...)
}

func isMeasured(name string) bool {
	return slices.ContainsFunc(clusters(), func(c cluster) bool {
		return slices.ContainsFunc(c.measurements, func(m measurement) bool { return m.name == name })
	})
}

// openViews opens a cluster whose namespaces belong to tenants by RoleBindings that
// this command makes: the views ask for no more.
func openViews(ctx context.Context, o options) (*environment, error) {
	return open(ctx, o, false, func(ctx context.Context, e *environment) error {
		if err := e.seed(ctx); err != nil {
			return err
		}
		return e.settle(ctx)
	})
}

// open starts a system and fills it. After an error nothing runs.
func open(ctx context.Context, o options, controller bool, fill func(context.Context, *environment) error) (*environment, error) {
	e, err := newEnvironment(ctx, o, controller)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, e); err != nil {
		return nil, errors.Join(err, e.close(true))
	}
	return e, nil
}
