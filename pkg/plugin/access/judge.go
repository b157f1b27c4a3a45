// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// judge adds the items of what was listed, with what may be done to it, and what may be
// missing from that.
func (r *Reader) judge(ctx context.Context, lists []listed, access *Access) error {
	cluster, missing, err := r.rulesIn(ctx, nowhere)
	if err != nil {
		// What is seen is known all the same.
		err = fmt.Errorf("verbs beyond get and list are not known: %w", err)
	}
	var warnings []string
	// open is what may be missing from the rules, unless all of it is asked for.
	open, asked, budget := []string{missing}, true, maxReviews
	for _, l := range lists {
		native := groupResource(l.resource.Native)
		seen := []string{verbGet, verbList}
		if cluster.allow(verbWatch, groupResource(l.resource.View), "") {
			seen = append(seen, verbWatch)
		}
		written := make([][]string, len(l.objects))
		for i, o := range l.objects {
			written[i] = cluster.written(native, o.name)
		}
		if isNamespace(l.resource) && err == nil && !cluster.allowAll(native) {
			var more, within []string
			more, within, err = r.writtenWithin(ctx, l.objects, native, written)
			warnings, open = append(warnings, more...), append(open, within...)
		}
		// What is missing in a namespace is missing of that namespace.
		if err == nil && (isSaid(missing) || isNamespace(l.resource) && slices.ContainsFunc(open, isSaid)) {
			var all bool
			all, err = r.complete(ctx, l, written, &budget)
			asked = asked && all
		}
		access.Items = append(access.Items, group(l, seen, written)...)
	}
	slices.SortStableFunc(access.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(precedence(a.Tenant), precedence(b.Tenant)), strings.Compare(a.Tenant, b.Tenant))
	})
	if !asked || err != nil {
		warnings = append(warnings, open...)
	}
	for _, warning := range warnings {
		if isSaid(warning) && !slices.Contains(access.Warnings, warning) {
			access.Warnings = append(access.Warnings, warning)
		}
	}
	return err
}

func isSaid(s string) bool { return s != "" }

// precedence puts what is of no tenant last.
func precedence(tenant string) int {
	if tenant == "" {
		return 1
	}
	return 0
}

func groupResource(kind rewrite.Kind) schema.GroupResource {
	return schema.GroupResource{Group: kind.Group, Resource: kind.Resource}
}

// writtenWithin finds what may be done to namespaces by their own RoleBindings, too, and
// what may be missing from the rules there.
func (r *Reader) writtenWithin(ctx context.Context, namespaces []object, resource schema.GroupResource, written [][]string) (warnings, missing []string, err error) {
	if len(namespaces) > maxReviews {
		warnings = append(warnings, fmt.Sprintf("the rules were asked for in the first %d of %d namespaces: verbs of the others may be missing", maxReviews, len(namespaces)))
		namespaces = namespaces[:maxReviews]
	}
	missing = make([]string, len(namespaces))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, namespace := range namespaces {
		group.Go(func() error {
			within, incomplete, err := r.rulesIn(ctx, namespace.name)
			if err != nil {
				return fmt.Errorf("verbs beyond get and list of namespace %s, and others, are not known: %w", namespace.name, err)
			}
			written[i], missing[i] = within.written(resource, namespace.name), incomplete
			return nil
		})
	}
	return warnings, missing, group.Wait()
}

// complete asks about every verb of every object that rules do not allow which may not be
// all, and reports whether the budget was enough for that.
func (r *Reader) complete(ctx context.Context, l listed, written [][]string, budget *int) (all bool, err error) {
	all = true
	allowed := make([][]bool, len(l.objects))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, o := range l.objects {
		allowed[i] = make([]bool, len(writes))
		for j, verb := range writes {
			if allowed[i][j] = slices.Contains(written[i], verb); allowed[i][j] {
				continue
			}
			if *budget == 0 {
				all = false
				continue
			}
			*budget--
			group.Go(func() (err error) {
				allowed[i][j], err = r.may(ctx, verb, l.resource, o.name)
				return err
			})
		}
	}
	err = group.Wait()
	for i := range allowed {
		written[i] = nil
		for j, verb := range writes {
			if allowed[i][j] {
				written[i] = append(written[i], verb)
			}
		}
	}
	return all, err
}

// group returns the items of a resource, in the order of their tenants and verbs. What is
// written is what may be done to each object.
func group(l listed, seen []string, written [][]string) []Item {
	type key struct{ tenant, verbs string }
	items := map[key]*Item{}
	for i, o := range l.objects {
		k := key{o.tenant, strings.Join(written[i], ",")}
		if items[k] == nil {
			native := l.resource.Native
			items[k] = &Item{
				Tenant: o.tenant, Group: native.Group, Version: native.Version, Kind: native.Kind, Resource: native.Resource,
				View: l.resource.View.Resource, Verbs: slices.Concat(seen, written[i]),
			}
		}
		items[k].Names = append(items[k].Names, o.name)
	}
	var sorted []Item
	for _, item := range items {
		slices.Sort(item.Names)
		sorted = append(sorted, *item)
	}
	slices.SortFunc(sorted, func(a, b Item) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), slices.Compare(a.Verbs, b.Verbs))
	})
	return sorted
}
