// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenants tests what Tenants give, as administrators and owners see it:
// tenancy-controller and tenancy-apiserver together, on a real control plane. The
// tests share one. Those that change what is of the whole cluster, such as the
// CapsuleConfiguration or the controller's processes, and those of the examples,
// which use the same names, run one after the other; the rest run at the same time,
// each with Tenants and users of its own.
package tenants

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

// system is what all tests ask, some of them through the proxy.
var (
	system *framework.System
	proxy  *framework.Proxy
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "tenancy-tenants-")
	if err != nil {
		return fail("create directory", err)
	}
	ctrllog.SetLogger(klog.Background())
	// Both are built with the race detector, see the Makefile.
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
			fmt.Fprintf(os.Stderr, "tenants: logs are in %s\n", dir)
		}
	}()
	if err := bindClusterAdmin(context.Background()); err != nil {
		return fail("bind the cluster administrator", err)
	}
	if err := letProxyTake(context.Background(), aksUsers, aksDev, aksStaging, "solar-sre"); err != nil {
		return fail("let the proxy take groups", err)
	}
	proxy, err = system.AddProxy(context.Background(), "bin/race/tenancy-proxy", "tenancy-proxy")
	if err != nil {
		return fail("start proxy", err)
	}
	code = m.Run()
	// After everything that the controller was made to do.
	if err := checkRights(); err != nil {
		return fail("check the rights of the controller", err)
	}
	return code
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "tenants: %s: %v\n", what, err)
	return 1
}
