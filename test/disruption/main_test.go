// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package disruption kills, cuts off and overtakes what a watch depends on, and
// holds that every client ends with exactly what its user may get. The tests
// disturb all that runs: they have a system of their own and take turns.
package disruption

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"tenancy.capsule.io/test/framework"
)

var (
	edits = flag.Int("edits", 200, "how many random edits a test makes")
	seed  = flag.Uint64("seed", 0, "seed of the edits; 0 for a random one")
	kills = flag.Int("kills", 6, "how many times a replica is killed")
	moves = flag.Int("moves", 8, "how many times clients are moved between replicas")
)

var (
	// system is what all tests disturb.
	system *framework.System
	// records is the directory of what the clients were sent. It stays, like the
	// logs beside it, if a test fails.
	records string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "tenancy-disruption-")
	if err != nil {
		return fail("create directory", err)
	}
	records = filepath.Join(dir, "records")
	clients, err := os.Create(filepath.Join(dir, "clients.log"))
	if err != nil {
		return fail("create log", err)
	}
	defer clients.Close() //nolint:errcheck // the tests have said what there is to say
	logTo(clients)
	// The server is built with the race detector, see the Makefile.
	system, err = framework.Start(context.Background(), framework.Options{Dir: dir, Server: "bin/race/tenancy-apiserver"})
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
			fmt.Fprintf(os.Stderr, "disruption: logs and records are in %s\n", dir)
		}
	}()
	return m.Run()
}

// logTo has client-go and controller-runtime log to w: tests provoke errors by the
// hundred.
func logTo(w io.Writer) {
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(w)))
	klog.SetLogger(logger)
	ctrllog.SetLogger(logger)
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "disruption: %s: %v\n", what, err)
	return 1
}
