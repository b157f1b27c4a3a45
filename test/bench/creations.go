// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	ownerToAdded  = "owner creates -> ADDED"
	ownerToListed = "owner creates -> listed"
	adminToAdded  = "administrator creates and binds -> ADDED"

	// creationLimit, in milliseconds, is for what happens from the creation of a
	// namespace on. A single owner is held to it from its request on. Several at
	// once, each of whom creates as fast as it can, keep all processors busy: then
	// the request itself takes as long as there are others.
	creationLimit = 300
)

// owner creates namespaces, under the owner's own name, and watches those there are.
type owner struct {
	tenant int
	// native creates, view asks for the list.
	native kubernetes.Interface
	view   *client
	watch  *stream
}

// creation is one way to create a namespace and to notice that the owner sees it.
type creation struct {
	name string
	// create does so, and returns how long it took until the owner sees it.
	create func(ctx context.Context, e *environment, o *owner, namespace string) (delay, error)
	// limited says that the performance budget is about it.
	limited bool
}

// creations returns the ways. The administrator does what webhook and controller do
// for an owner: what is left is what the API server and the view take.
func creations() []creation {
	return []creation{
		{ownerToAdded, createAdded, true},
		{ownerToListed, createListed, true},
		{adminToAdded, bindAdded, false},
	}
}

// createAdded has the owner create a namespace, and awaits it on the watch.
func createAdded(ctx context.Context, _ *environment, o *owner, namespace string) (delay, error) {
	start := time.Now()
	if err := o.create(ctx, namespace); err != nil {
		return delay{}, err
	}
	responded := time.Now()
	at, err := o.watch.await(ctx, watch.Added, namespace)
	return delayUntil(at, start, responded), err
}

// createListed has the owner create a namespace, and list until it is there, one
// list after the other.
func createListed(ctx context.Context, _ *environment, o *owner, namespace string) (delay, error) {
	start := time.Now()
	if err := o.create(ctx, namespace); err != nil {
		return delay{}, err
	}
	responded := time.Now()
	at := responded
	name := fmt.Appendf(nil, `"name":%q`, namespace)
	for list := (bytes.Buffer{}); !bytes.Contains(list.Bytes(), name); at = time.Now() {
		list.Reset()
		if _, err := o.view.ask(ctx, question{target: viewPath, accept: jsonAccept}, &list); err != nil {
			return delay{}, err
		}
	}
	// The lists were in the way of the watch: what it took is not of interest.
	_, err := o.watch.await(ctx, watch.Added, namespace)
	return delayUntil(at, start, responded), err
}

// bindAdded has the administrator create a namespace and let the owner in, and awaits
// it on the owner's watch.
func bindAdded(ctx context.Context, e *environment, o *owner, namespace string) (delay, error) {
	start := time.Now()
	if err := create(ctx, e.admin, namespace); err != nil {
		return delay{}, err
	}
	responded := time.Now()
	binding := seeded{name: namespace, tenant: o.tenant}.binding()
	if _, err := e.admin.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return delay{}, fmt.Errorf("create role binding: %w", err)
	}
	at, err := o.watch.await(ctx, watch.Added, namespace)
	return delayUntil(at, start, responded), err
}

func (o *owner) create(ctx context.Context, namespace string) error {
	return create(ctx, o.native, namespace)
}

func create(ctx context.Context, client kubernetes.Interface, namespace string) error {
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	return nil
}

// measureTenant has the owners of Tenants create namespaces, and measures until they
// see them.
func measureTenant(ctx context.Context, e *environment, r *report) error {
	owners, watches, err := e.openOwners(ctx)
	if err != nil {
		return err
	}
	defer watches.close()
	var made atomic.Int64
	for _, clients := range e.options.Clients {
		clients = min(clients, len(owners))
		since := map[string]map[string]samples{fromRequest: {}, fromResponse: {}}
		for round := range e.options.Rounds {
			progress("TENANT, %d at once: round %d of %d", clients, round+1, e.options.Rounds)
			for _, c := range rotate(creations(), round) {
				request, response, err := e.createAtOnce(ctx, c, owners, clients, &made)
				if err != nil {
					return fmt.Errorf("%s, %d at once: %w", c.name, clients, err)
				}
				since[fromRequest][c.name] = append(since[fromRequest][c.name], request)
				since[fromResponse][c.name] = append(since[fromResponse][c.name], response)
			}
		}
		for _, c := range creations() {
			for _, from := range []string{fromRequest, fromResponse} {
				measured := since[from][c.name]
				of := latency{Measurement: "TENANT", What: c.name, Clients: clients, Watches: len(owners), From: from}
				r.Latencies = append(r.Latencies, measured.latency(of))
				if c.limited && (from == fromRequest) == (clients == 1) {
					what := fmt.Sprintf("TENANT, %s, %d at once: %s, p99 from the %s", e.namespaces(), clients, c.name, from)
					r.Targets = append(r.Targets, atMost(what, creationLimit, "ms", measured.p99()))
				}
			}
		}
	}
	return nil
}

// createAtOnce creates the namespaces of one round, so many at once, each time as
// another owner, and returns the milliseconds that it took from the request for each,
// and from its response.
func (e *environment) createAtOnce(ctx context.Context, c creation, owners []*owner, clients int, made *atomic.Int64) (request, response []float64, err error) {
	count := e.options.Creations
	request, response = make([]float64, count), make([]float64, count)
	group, ctx := errgroup.WithContext(ctx)
	for number := range clients {
		group.Go(func() error {
			// Nobody else uses these, so that each has one event to await.
			own := everyNth(owners, number, clients)
			for i := number; i < count; i += clients {
				o := own[i/clients%len(own)]
				namespace := fmt.Sprintf("%s-new-%06d", tenantName(o.tenant), made.Add(1))
				took, err := e.createOne(ctx, c, o, namespace)
				if err != nil {
					return fmt.Errorf("namespace %s: %w", namespace, err)
				}
				request[i], response[i] = took.fromRequest, took.fromResponse
			}
			return nil
		})
	}
	return request, response, group.Wait()
}

func (e *environment) createOne(ctx context.Context, c creation, o *owner, namespace string) (delay, error) {
	ctx, cancel := context.WithTimeout(ctx, eventWithin)
	defer cancel()
	return c.create(ctx, e, o, namespace)
}

// everyNth returns every n-th of the elements, from the first on.
func everyNth[T any](elements []T, first, n int) []T {
	var some []T
	for i := first; i < len(elements); i += n {
		some = append(some, elements[i])
	}
	return some
}

// openOwners connects the owners of all tenants, each by a certificate and connections
// of their own, and opens their watches.
func (e *environment) openOwners(ctx context.Context) ([]*owner, *streams, error) {
	count := e.options.Tenants
	progress("Opening the watches of %d owners", count)
	namespaces := map[int]int{}
	for _, s := range namespacesOf(e.options) {
		namespaces[s.tenant]++
	}
	ctx, cancel := context.WithCancel(ctx)
	watches := &streams{open: make([]*stream, count), cancel: cancel}
	owners := make([]*owner, count)
	var group errgroup.Group
	group.SetLimit(opening)
	for i := range count {
		group.Go(func() (err error) {
			if owners[i], err = e.newOwner(i); err != nil {
				return err
			}
			if err := owners[i].awaitAll(ctx, namespaces[i]); err != nil {
				return err
			}
			if err := watches.add(ctx, owners[i].view, viewPath, i, ownerOf(i), namespaces[i]); err != nil {
				return err
			}
			owners[i].watch = watches.open[i]
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		watches.close()
		return nil, nil, err
	}
	return owners, watches, nil
}

func (e *environment) newOwner(tenant int) (*owner, error) {
	config, err := e.system.ControlPlane.RESTConfig(ownerOf(tenant), tenantGroup)
	if err != nil {
		return nil, err
	}
	o := &owner{tenant: tenant}
	if o.view, err = newClient(config, nil); err != nil {
		return nil, err
	}
	o.native, err = kubernetes.NewForConfig(rest.CopyConfig(config))
	return o, err
}

// awaitAll waits until the owner sees so many namespaces.
func (o *owner) awaitAll(ctx context.Context, want int) error {
	var reason error
	err := wait.PollUntilContextTimeout(ctx, settlePoll, settleWithin, true, func(ctx context.Context) (bool, error) {
		var list bytes.Buffer
		q := question{target: viewPath, accept: jsonAccept}
		if _, err := o.view.ask(ctx, q, &list); err != nil {
			return false, err
		}
		names, err := o.view.names(q, list.Bytes())
		if err != nil {
			return false, err
		}
		reason = fmt.Errorf("%d of %d namespaces", len(names), want)
		return len(names) == want, nil
	})
	if err != nil {
		return fmt.Errorf("await the namespaces of %s: %w: %w", ownerOf(o.tenant), err, reason)
	}
	return nil
}
