// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// profileRequests is more than can be answered within blockWithin.
const profileRequests = 100_000

// makeProfileDir finds out early whether profiles can be saved.
func (o options) makeProfileDir() error {
	if o.profileDir == "" {
		return nil
	}
	return os.MkdirAll(o.profileDir, 0o700)
}

// profileList saves where tenancy-apiserver spends its time while alice's
// namespaces are listed by as many clients as ever ask at once.
func (e *environment) profileList(ctx context.Context) error {
	if e.options.profileDir == "" {
		return nil
	}
	clients := slices.Max(e.options.Clients)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := e.lists(jsonAccept)[0].ask(ctx, e.asAlice[:clients], profileRequests)
		return err
	})
	group.Go(func() error {
		return e.profile(ctx, fmt.Sprintf("list-%d-clients.cpu.pprof", clients), "profile?seconds=4")
	})
	return group.Wait()
}

// profile saves a profile of tenancy-apiserver if the flag asks for it.
func (e *environment) profile(ctx context.Context, name, kind string) (err error) {
	if e.options.profileDir == "" {
		return nil
	}
	file, err := os.Create(filepath.Join(e.options.profileDir, name))
	if err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = e.asOperator.ask(ctx, question{target: "/debug/pprof/" + kind, accept: "*/*"}, file)
	return err
}
