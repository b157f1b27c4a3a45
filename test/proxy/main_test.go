// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proxy tests tenancy-proxy, as users see it: the whole system on a real control
// plane.
package proxy

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"tenancy.capsule.io/test/framework"
)

var (
	// system is what all tests ask.
	system *framework.System
	// proxy is in front of it.
	proxy *framework.Proxy
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "tenancy-proxy-")
	if err != nil {
		return fail("create directory", err)
	}
	ctrllog.SetLogger(klog.Background())
	// All are built with the race detector, see the Makefile.
	system, err = framework.Start(context.Background(), framework.Options{
		Dir: dir, Server: "bin/race/tenancy-apiserver", Controller: "bin/race/tenancy-controller",
	})
	if err != nil {
		return fail("start system, its logs are in "+dir, err)
	}
	defer func() {
		if err := system.Stop(); err != nil {
			code = fail("stop system", err)
		}
		if code == 0 {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Fprintf(os.Stderr, "proxy: logs are in %s\n", dir)
		}
	}()
	if proxy, err = system.AddProxy(context.Background(), "bin/race/tenancy-proxy", "tenancy-proxy"); err != nil {
		return fail("start proxy", err)
	}
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "proxy: %s: %v\n", what, err)
	return 1
}
