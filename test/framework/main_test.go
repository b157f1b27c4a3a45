// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
)

// system is what all tests ask.
var system *System

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "tenancy-framework-")
	if err != nil {
		return fail("create directory", err)
	}
	// The programs are built with the race detector, see the Makefile.
	system, err = Start(context.Background(), Options{
		Dir: dir, Server: "bin/race/tenancy-apiserver", Controller: "bin/race/tenancy-controller", ControllerArgs: shortLease,
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
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "framework: %s: %v\n", what, err)
	return 1
}
