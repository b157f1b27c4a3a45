// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// compiler turns what an object gives into roles and bindings. The reconcilers of
// Tenants and of GlobalProxySettings share it.
type compiler struct {
	// reader reads the objects that access is given to.
	reader client.Reader
	store  store
	// interests learns what is selected, so that events of objects find whom they
	// concern.
	interests *interests
}

// compile makes the roles and bindings of o be what the groups say; no groups
// remove all of them.
func (c compiler) compile(ctx context.Context, o owner, groups []group) error {
	// Before the objects are listed: what changes afterwards brings o back.
	c.interests.set(o, groups)
	records, present, err := c.present(ctx, o)
	if err != nil {
		return err
	}
	wanted := map[place]unit{}
	for _, g := range groups {
		selected, err := c.selected(ctx, g)
		if err != nil {
			return err
		}
		maps.Copy(wanted, g.units(selected, g.partsIn(present), maxNames))
	}
	logger := log.FromContext(ctx)
	for _, next := range plan(present, wanted) {
		switch err := c.store.write(ctx, o, records, next); {
		case apierrors.IsConflict(err):
			return err
		case err != nil:
			return errors.Join(err, c.lose(ctx, o, wanted))
		}
		logger.V(2).Info("Wrote access", "object", next.String())
	}
	return nil
}

// lose takes away what is not wanted, after a write was refused: what cannot be
// gained must not keep what is to be lost.
func (c compiler) lose(ctx context.Context, o owner, wanted map[place]unit) error {
	records, present, err := c.present(ctx, o)
	if err != nil {
		return err
	}
	var errs []error
	for _, next := range losses(present, wanted) {
		errs = append(errs, c.store.write(ctx, o, records, next))
	}
	return errors.Join(errs...)
}

// present returns what there is of o, once what is in the way is gone.
func (c compiler) present(ctx context.Context, o owner) (map[place]record, map[place]state, error) {
	records, err := c.store.read(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	present := map[place]state{}
	for _, at := range slices.SortedFunc(maps.Keys(records), place.compare) {
		_, strange := records[at].state(at, o)
		if err := c.store.clear(ctx, at, strange, records); err != nil {
			return nil, nil, err
		}
		present[at], _ = records[at].state(at, o)
	}
	return records, present, nil
}

// selected returns which names each request of a group selects now.
func (c compiler) selected(ctx context.Context, g group) ([]names, error) {
	selected := make([]names, len(g.requests))
	for i, q := range g.requests {
		if q.selection.all {
			selected[i] = names{all: true}
			continue
		}
		list := q.kind.list()
		options := []client.ListOption{client.UnsafeDisableDeepCopy}
		if q.selection.index != nil {
			options = append(options, q.selection.index)
		}
		if err := c.reader.List(ctx, list, options...); err != nil {
			return nil, fmt.Errorf("list %s: %w", q.kind.resource, err)
		}
		set := sets.New[string]()
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			object, err := meta.Accessor(item)
			if err == nil && q.selection.selects(object) {
				set.Insert(object.GetName())
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("read %s: %w", q.kind.resource, err)
		}
		selected[i] = names{set: set}
	}
	return selected, nil
}
