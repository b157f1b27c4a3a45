// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the whole system as its users see it: through kubectl,
// client-go and plain HTTP, against a real API server. The tests share one.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"tenancy.capsule.io/test/framework"
	"tenancy.capsule.io/test/framework/controlplane"
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
	dir, err := os.MkdirTemp("", "tenancy-e2e-")
	if err != nil {
		return fail("create directory", err)
	}
	// The server is built with the race detector, see the Makefile.
	system, err = framework.Start(context.Background(), framework.Options{
		Dir: dir, Server: "bin/race/tenancy-apiserver",
		// It would move every volume to the phase that its claim asks for.
		ControlPlane: controlplane.Config{ExtraControllerManagerArgs: []string{"--controllers=-persistentvolume-binder-controller"}},
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
		}
	}()
	if err := system.InstallTenants(context.Background()); err != nil {
		return fail("define tenants", err)
	}
	proxy, err = system.AddProxy(context.Background(), "bin/race/tenancy-proxy", "tenancy-proxy", "--client-ca-file=")
	if err != nil {
		return fail("start proxy", err)
	}
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "e2e: %s: %v\n", what, err)
	return 1
}
