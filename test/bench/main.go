// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// The bench command measures what the views, and Tenants, cost next to the native API:
// side by side, in one run, on one machine. It starts a control plane with
// tenancy-apiserver in it, fills it with the namespaces of many tenants, and asks.
//
//	make bench BENCHFLAGS='--rounds 5 --only LIST'
//
// # What it measures
//
// LIST of one tenant's namespaces, in JSON, protobuf and as a Table:
//   - the view, as a user who may get these and no others, through kube-apiserver
//   - the view, direct: asked as kube-apiserver asks it, with the user in headers
//   - native, resourceVersion=0: an administrator who selects the same ones by
//     label, answered from kube-apiserver's watch cache; the baseline
//   - native, consistent: the same with no resourceVersion
//
// GET of one of them as that user, of the view and natively (the baseline),
// always the same name and always another one.
//
// WATCHLIST: a watch of the same namespaces until it has told what there is, as an
// informer begins; the same ways as for LIST.
//
// START: tenancy-apiserver is stopped and started anew, with everything there, until
// /readyz says that it is ready.
//
// WATCH, of many users who see some namespaces each, all through kube-apiserver:
//   - grant -> ADDED and revoke -> DELETED: from the request that creates, or
//     deletes, a RoleBinding to the event on the open watch of the user, and from
//     the response to that request (the event may come first); with one watch
//     open and with many, all of which are read
//   - change -> each, change -> the last one: from the change of a namespace that
//     all see to the event on each watch, and on the last one to get it
//   - the same with one watch in ten never read after its headers
//   - MEMORY: what is resident of tenancy-apiserver, which is started anew for
//     this, as the kernel says, and what was at most (VmRSS and VmHWM)
//
// SCALE: LIST in JSON and GET, in two clusters in turn. The other one runs beside
// the first, with --scale times the namespaces, of which the user sees the same
// ones, and as many nodes. START and MEMORY are measured there, too. It has no
// controllers: what they make in each namespace is not asked for and would take
// longer than all the rest. The native GET costs the same however many others
// there are: what it differs by is kube-apiserver's, and is in the views' figures,
// too.
//
// In both, the owner of a tenant may get the nodes of the tenant's pool, by
// one ClusterRole with their names.
//
// TENANT, in a cluster of its own, in which tenancy-controller gives the owners of
// Tenants what is theirs in as many namespaces: the owners, each as themselves, create
// further ones, which nobody deletes.
//   - owner creates -> ADDED: from before the request until the event has come on the
//     owner's watch, which is open as that of all other owners
//   - owner creates -> listed: until a list by the owner has it, of which one is sent
//     after the other from the response to the creation on
//   - administrator creates and binds -> ADDED: the same without webhook and
//     controller; what these do, an administrator does in two requests
//   - the response to the creation: of the same samples, the first request alone
//
// Each as one owner after the other, and as eight at once, one of each Tenant.
//
// AUTHZ: the same requests to two clusters in turn, one without Tenants and one with
// --compiled-tenants, whose access tenancy-controller has compiled. The owner of one of
// the Tenants and a service account of nobody's ask for a ConfigMap that a RoleBinding
// lets them get, and for one that nothing does: for both, kube-apiserver looks at
// every ClusterRoleBinding.
//   - an authorization: the mean of kube-apiserver's own authorization_duration_seconds
//     over the requests of a turn, among which those of controllers are few
//   - in the table above, the requests themselves, from end to end
//   - how many ClusterRoleBindings there are of each Tenant
//   - how long it took until everything was compiled, first while the Tenants were
//     created, by 16 at once, then from the start of a tenancy-controller that found
//     nothing of it; and what is resident of that one
//
// COLD: tenancy-controller is started when Tenants, which impose two NetworkPolicies, a
// LimitRange and a ResourceQuota and have two owners, and their namespaces are there,
// and nothing of what they impose. In another cluster, which is like this one, a client
// creates the same objects, by 16 at once, while there is no tenancy-controller.
//   - how long either takes, by the audit log, what processors work for it, and what is
//     resident of tenancy-controller at most
//   - what it writes when it is started again with nothing to do, by the audit log
//
// # How to read it
//
// Every client is a connection of its own that sends one request after the other,
// as fast as it is answered. In each round every way of asking has its turn, in an
// order that differs from round to round. Median and p99 are of the requests of
// all rounds, req/s is the median of the rounds. What is compared with the
// baseline (x latency, x req/s, + ms) is computed within each round, and then the
// median of the rounds is taken, so that what disturbs the machine for a while
// disturbs both sides; the range of the rounds says how much it did.
//
// The seconds that the processors worked for the servers are read before and after
// each turn: for 1 client they have fewer digits, as the kernel counts in
// hundredths. A turn ends after five seconds, with fewer requests if need be.
//
// The clients share the processors with the servers: figures of 8 clients say
// what a request costs all processes together. Clients offer gzip, as client-go
// does; the server uses it for answers above 128 KiB, and the column gzip says
// whether it did. The views leave out metadata.managedFields, the native answers
// hold them: the column bytes shows what of the difference is due to that.
//
// LIST, GET, WATCHLIST, START, WATCH and SCALE are measured in one cluster, which is
// stopped before those of TENANT, AUTHZ and COLD are started.
//
// The targets are compared with what was measured, and nothing fails because of
// a target that is missed: the exit code is 0 unless a request fails or is
// answered wrongly. Each target says how many namespaces there were; that of the
// memory is of 10,000:
//
//	make bench BENCHFLAGS='--only WATCH --namespaces 10000'
//
// With --profile a CPU profile of tenancy-apiserver while it lists, and one of its
// heap with the watches open, are taken apart from what is timed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	// controller-runtime, whose client is used, has a logger of its own.
	ctrllog.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		stop()
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures everything and reports it.
func run(ctx context.Context, o options) error {
	start := time.Now()
	r := &report{Options: o}
	for _, c := range clusters() {
		if err := c.measure(ctx, o, r); err != nil {
			return err
		}
	}
	r.Machine.LoadAfter, r.Seconds = loadAverage(), time.Since(start).Seconds()
	if err := r.print(os.Stdout); err != nil {
		return err
	}
	if o.jsonFile == "" {
		return nil
	}
	return r.write(o.jsonFile)
}

// measure starts the cluster and measures in it what the options ask for, if that is
// anything.
func (c cluster) measure(ctx context.Context, o options, r *report) (err error) {
	chosen := slices.DeleteFunc(slices.Clone(c.measurements), func(m measurement) bool {
		return len(o.only) > 0 && !slices.Contains(o.only, m.name)
	})
	if len(chosen) == 0 {
		return nil
	}
	start := time.Now()
	e, err := c.open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(err != nil)) }()
	r.SeedSeconds += time.Since(start).Seconds()
	if r.Machine == (machine{}) {
		if r.Machine, err = describeMachine(e); err != nil {
			return err
		}
	}
	for _, m := range chosen {
		if err := m.run(ctx, e, r); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return nil
}
