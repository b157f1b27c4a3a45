// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	Namespaces int   `json:"namespaces"`
	Visible    int   `json:"visible"`
	Tenants    int   `json:"tenants"`
	Nodes      int   `json:"nodes"`
	Scale      int   `json:"scale"`
	Rounds     int   `json:"rounds"`
	Requests   int   `json:"requests"`
	Clients    []int `json:"clients"`
	// These are of WATCH.
	Watches       int `json:"watches"`
	Grants        int `json:"grants"`
	Events        int `json:"events"`
	StalledEvents int `json:"stalledEvents"`
	// Creations is of TENANT, CompiledTenants of AUTHZ.
	Creations       int `json:"creations"`
	CompiledTenants int `json:"compiledTenants"`

	only           []string
	serverArgs     []string
	controllerArgs []string
	jsonFile, dir  string
	profileDir     string
	keep           bool
}

func parseOptions(args []string) (options, error) {
	o := options{Clients: []int{1, 8}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.Namespaces, "namespaces", 5000, "namespaces of all tenants together")
	fs.IntVar(&o.Visible, "visible", 100, "namespaces of the tenant that is measured")
	fs.IntVar(&o.Tenants, "tenants", 50, "tenants")
	fs.IntVar(&o.Nodes, "nodes", 1000, "nodes, spread over the tenants")
	fs.IntVar(&o.Scale, "scale", 10, "how many times the namespaces the larger cluster of SCALE has; 0 or 1 to leave it out")
	fs.IntVar(&o.Rounds, "rounds", 3, "rounds")
	fs.IntVar(&o.Requests, "requests", 100, "requests of each client, each round and each way of asking")
	fs.Func("clients", "numbers of clients, separated by commas (default 1,8)", func(value string) (err error) {
		o.Clients, err = parseClients(value)
		return err
	})
	fs.IntVar(&o.Watches, "watches", 1000, "open watches, each of another user")
	fs.IntVar(&o.Grants, "grants", 200, "grants, and as many revocations, of each round")
	fs.IntVar(&o.Events, "events", 20, "events of each round that all watches get")
	fs.IntVar(&o.StalledEvents, "stalled-events", 2000, "events while one watch in ten is not read; 0 to leave this out")
	fs.IntVar(&o.Creations, "creations", 200, "namespaces that owners create, of each round, each way of noticing and each number at once")
	fs.IntVar(&o.CompiledTenants, "compiled-tenants", 1000, "Tenants whose compiled access is measured")
	fs.Func("only", "measure only these, separated by commas, as LIST,GET", func(value string) error {
		o.only = strings.Split(value, ",")
		return nil
	})
	fs.Func("server-arg", "argument of tenancy-apiserver, as --profiling; may be repeated", func(value string) error {
		o.serverArgs = append(o.serverArgs, value)
		return nil
	})
	fs.Func("controller-arg", "argument of tenancy-controller, as --v=4; may be repeated", func(value string) error {
		o.controllerArgs = append(o.controllerArgs, value)
		return nil
	})
	fs.StringVar(&o.jsonFile, "json", "", "write the results to this `file`, too")
	fs.StringVar(&o.dir, "dir", "", "`directory` of the state (default a temporary one)")
	fs.StringVar(&o.profileDir, "profile", "", "save profiles of tenancy-apiserver in this `directory`, at the price of --profiling")
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
	case o.Nodes < 0 || o.Scale < 0:
		return errors.New("--nodes and --scale must not be negative")
	case o.Visible < 1 || o.Visible > o.Namespaces:
		return errors.New("--visible must be at least 1 and at most --namespaces")
	case o.Watches < 1 || o.Grants < 1 || o.Events < 1 || o.StalledEvents < 0:
		return errors.New("--watches, --grants and --events must be at least 1, --stalled-events must not be negative")
	case o.Creations < 1 || o.CompiledTenants < 1:
		return errors.New("--creations and --compiled-tenants must be at least 1")
	case o.Tenants < 1 || o.Tenants == 1 && o.Visible != o.Namespaces:
		return errors.New("--tenants must be at least 1, and more if not every namespace is visible")
	}
	for _, name := range o.only {
		if !isMeasured(name) {
			return fmt.Errorf("--only: there is no measurement %q", name)
		}
	}
	return nil
}

// inOwnDir returns the options with a directory that is not there yet: what is made in
// clusters with a controller is not what a second run begins with.
func (o options) inOwnDir(name string) options {
	if o.dir != "" {
		o.dir = filepath.Join(o.dir, name+"-"+time.Now().Format("20060102T150405"))
	}
	return o
}

// argsOfServer returns the arguments that tenancy-apiserver has for the benchmark.
func (o options) argsOfServer() []string {
	if o.profileDir == "" {
		return o.serverArgs
	}
	return append(slices.Clone(o.serverArgs), "--profiling")
}
