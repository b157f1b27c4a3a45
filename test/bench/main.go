// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// The bench command measures what the views cost next to the native API: side by
// side, in one run, on one machine. It starts a control plane with
// tenancy-apiserver in it, fills it with the namespaces of many tenants, and asks.
//
//	make bench BENCHFLAGS='--rounds 3 --json bench.json'
//
// # What it measures
//
// LIST of one tenant's namespaces, in JSON, protobuf and as a Table:
//   - the view, as a user who may get these and no others, through kube-apiserver
//   - native, resourceVersion=0: an administrator who selects the same ones by
//     label, answered from kube-apiserver's watch cache; the baseline
//   - native, consistent: the same with no resourceVersion
//   - the view, direct: asked as kube-apiserver asks it, with the user in headers
//
// GET of one of them as that user, of the view and natively (the baseline),
// always the same name and always another one.
//
// WATCHLIST: a watch of the same namespaces until it has told what there is, as an
// informer begins; the same ways as for LIST.
//
// WATCH, of many users who see some namespaces each, all through kube-apiserver:
//   - grant -> ADDED and revoke -> DELETED: from the request that creates, or
//     deletes, a RoleBinding to the event on the open watch of the user, and from
//     the response to that request (the event may come first); with one watch
//     open and with many, all of which are read
//   - change -> each, change -> the last one: from the change of a namespace that
//     all see to the event on each watch, and on the last one to get it
//   - the same with one watch in ten never read after its headers
//   - the resident memory of tenancy-apiserver, which is started anew for this
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
// The clients share the processors with the servers: figures of 8 clients say
// what a request costs all processes together. Clients offer gzip, as client-go
// does; the server uses it for answers above 128 KiB, and the column gzip says
// whether it did. The views leave out metadata.managedFields, the native answers
// hold them: the column bytes shows what of the difference is due to that.
//
// The targets are compared with what was measured, and nothing fails because of
// a target that is missed: the exit code is 0 unless a request fails or is
// answered wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// options are the flags.
type options struct {
	Namespaces int   `json:"namespaces"`
	Visible    int   `json:"visible"`
	Tenants    int   `json:"tenants"`
	Rounds     int   `json:"rounds"`
	Requests   int   `json:"requests"`
	Clients    []int `json:"clients"`
	// These are of WATCH.
	Watches       int `json:"watches"`
	Grants        int `json:"grants"`
	Events        int `json:"events"`
	StalledEvents int `json:"stalledEvents"`

	only          []string
	serverArgs    []string
	jsonFile, dir string
	keep          bool
}

func parseOptions(args []string) (options, error) {
	o := options{Clients: []int{1, 8}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.Namespaces, "namespaces", 5000, "namespaces of all tenants together")
	fs.IntVar(&o.Visible, "visible", 100, "namespaces of the tenant that is measured")
	fs.IntVar(&o.Tenants, "tenants", 50, "tenants")
	fs.IntVar(&o.Rounds, "rounds", 5, "rounds")
	fs.IntVar(&o.Requests, "requests", 100, "requests of each client, each round and each way of asking")
	fs.Func("clients", "numbers of clients, separated by commas (default 1,8)", func(value string) (err error) {
		o.Clients, err = parseClients(value)
		return err
	})
	fs.IntVar(&o.Watches, "watches", 1000, "open watches, each of another user")
	fs.IntVar(&o.Grants, "grants", 200, "grants, and as many revocations, of each round")
	fs.IntVar(&o.Events, "events", 20, "events of each round that all watches get")
	fs.IntVar(&o.StalledEvents, "stalled-events", 2000, "events while one watch in ten is not read; 0 to leave this out")
	fs.Func("only", "measure only these, separated by commas, as LIST,GET", func(value string) error {
		o.only = strings.Split(value, ",")
		return nil
	})
	fs.Func("server-arg", "argument of tenancy-apiserver, as --profiling; may be repeated", func(value string) error {
		o.serverArgs = append(o.serverArgs, value)
		return nil
	})
	fs.StringVar(&o.jsonFile, "json", "", "write the results to this `file`, too")
	fs.StringVar(&o.dir, "dir", "", "`directory` of the state (default a temporary one)")
	fs.BoolVar(&o.keep, "keep", false, "keep the state, the logs among it; a directory that was there before is always kept")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	return o, o.validate(fs.Args())
}

func parseClients(value string) ([]int, error) {
	var clients []int
	for field := range strings.SplitSeq(value, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of clients", field)
		}
		clients = append(clients, n)
	}
	return clients, nil
}

func (o options) validate(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case o.Rounds < 1 || o.Requests < 1:
		return errors.New("--rounds and --requests must be at least 1")
	case o.Visible < 1 || o.Visible > o.Namespaces:
		return errors.New("--visible must be at least 1 and at most --namespaces")
	case o.Watches < 1 || o.Grants < 1 || o.Events < 1 || o.StalledEvents < 0:
		return errors.New("--watches, --grants and --events must be at least 1, --stalled-events must not be negative")
	case o.Tenants < 1 || o.Tenants == 1 && o.Visible != o.Namespaces:
		return errors.New("--tenants must be at least 1, and more if not every namespace is visible")
	}
	return nil
}

func main() {
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
func run(ctx context.Context, o options) (err error) {
	e, err := newEnvironment(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(err != nil)) }()
	if err := e.seed(ctx); err != nil {
		return err
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	r := &report{Options: o}
	if r.Machine, err = describeMachine(e); err != nil {
		return err
	}
	for _, m := range measurements() {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) {
			continue
		}
		if err := m.run(ctx, e, r); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	r.Machine.LoadAfter = loadAverage()
	if err := r.print(os.Stdout); err != nil {
		return err
	}
	if o.jsonFile == "" {
		return nil
	}
	return r.write(o.jsonFile)
}
