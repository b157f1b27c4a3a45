// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
)

const (
	// settleWithin is how long the API server and a view may disagree after an
	// edit: both follow RBAC by watches of their own.
	settleWithin = 30 * time.Second
	// parallelReviews is how many requests are in flight.
	parallelReviews = 24
	// sampledGets is how many gets follow the lists of a kind.
	sampledGets = 3
)

// access is, by user, the sorted names of the objects that it may get.
type access map[string][]string

// compare holds, for every user, that the views of some kinds are what reviews
// allow, and notes of which kinds that has changed.
func (d *differential) compare(t *testing.T, when string, kinds []*comparedKind) {
	t.Helper()
	start := time.Now()
	defer func() { d.comparing += time.Since(start) }()
	for _, k := range kinds {
		now := d.compareLists(t, k, when)
		d.compareGets(t, k, now, when)
		k.comparisons++
		if k.last != nil && !cmp.Equal(k.last, now) {
			k.effective++
		}
		k.last = now
	}
}

// compareLists asks for every user what a review allows and what the view lists,
// and asks again where they differ, until they agree or it has taken too long.
func (d *differential) compareLists(t *testing.T, k *comparedKind, when string) access {
	t.Helper()
	result := access{}
	open := make([]int, len(d.identities))
	for i := range open {
		open[i] = i
	}
	var diff string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, settleWithin, true, func(ctx context.Context) (bool, error) {
		names, err := listNames(ctx, k.stored)
		if err != nil {
			return false, err
		}
		reviews, err := d.review(ctx, k, open, names)
		if err != nil {
			return false, err
		}
		lists, err := d.list(ctx, k, open)
		if err != nil {
			return false, err
		}
		var still []int
		for n, i := range open {
			id := d.identities[i]
			if unequal := cmp.Diff(reviews[n], lists[n]); unequal != "" {
				diff = fmt.Sprintf("%s of %v (-allowed +listed):\n%s", id.user, id.groups, unequal)
				still = append(still, i)
				continue
			}
			result[id.user] = reviews[n]
		}
		open = still
		return len(open) == 0, nil
	})
	require.NoError(t, err, "%s: %s: seed %d: %s", when, k, d.seed, diff)
	return result
}

// review returns, for each of the users, which names a review allows it to get.
func (d *differential) review(ctx context.Context, k *comparedKind, users []int, names []string) ([][]string, error) {
	allowed := make([]bool, len(users)*len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for n := range allowed {
		id, name := d.identities[users[n/len(names)]], names[n%len(names)]
		group.Go(func() (err error) {
			allowed[n], err = k.mayGet(ctx, d.admin, id, name)
			return err
		})
	}
	err := group.Wait()
	k.reviews += len(allowed)
	result := make([][]string, len(users))
	for n := range result {
		result[n] = []string{}
		for i, name := range names {
			if allowed[n*len(names)+i] {
				result[n] = append(result[n], name)
			}
		}
	}
	return result, err
}

// mayGet asks the API server whether a user may get the native object of a name.
// For the namespace N the review names N twice, as the API server does when it
// authorizes the request.
func (k kind) mayGet(ctx context.Context, admin kubernetes.Interface, id identity, name string) (bool, error) {
	attributes := &authorizationv1.ResourceAttributes{
		Verb: "get", Group: k.native.Group, Version: k.native.Version, Resource: k.native.Resource, Name: name,
	}
	if k.String() == "namespaces" {
		attributes.Namespace = name
	}
	review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: id.user, Groups: id.all, ResourceAttributes: attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// list returns, for each of the users, what the view lists.
func (d *differential) list(ctx context.Context, k *comparedKind, users []int) ([][]string, error) {
	lists := make([][]string, len(users))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for n, i := range users {
		group.Go(func() (err error) {
			lists[n], err = listNames(ctx, k.views[i])
			return err
		})
	}
	k.lists += len(users)
	return lists, group.Wait()
}

func listNames(ctx context.Context, client metadata.ResourceInterface) ([]string, error) {
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// compareGets holds, for a few users and names, that a get of the view finds what
// the list holds and nothing else.
func (d *differential) compareGets(t *testing.T, k *comparedKind, result access, when string) {
	t.Helper()
	for range sampledGets {
		i := d.random.IntN(len(d.identities))
		user, name := d.identities[i].user, differentialName(d.random.IntN(k.objects))
		_, err := k.views[i].Get(t.Context(), name, metav1.GetOptions{})
		if slices.Contains(result[user], name) {
			require.NoError(t, err, "%s: get of %s %s by %s", when, k, name, user)
		} else {
			require.True(t, apierrors.IsNotFound(err), "%s: get of %s %s by %s: %v", when, k, name, user, err)
		}
		k.gets++
	}
}
