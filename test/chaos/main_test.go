// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chaos kills tenancy-controller, again and again, while Tenants, what they
// select and who owns them are made, changed, deleted and made again by others, and
// what the controller makes is changed and deleted by hand.
//
//	churn ───▶ API server ◀─── controller ◀── killer
//	               │
//	               ▼ every event of every kind concerned, by watches
//	           recorder ──▶ history: the versions of each object
//	                            │
//	   replay, write by write   ▼
//	   what RBAC gives  ◀──▶  what Tenants give, by brute force
//
// The revisions of all kinds come from one etcd, so they say what happened before
// what. What Tenants give and impose is computed here anew, from the specification:
// nothing of the controller is used for it.
//
// The claims:
//   - whenever it is given the time, the controller makes RBAC give exactly what
//     Tenants and their like give, whoever died before, and leaves it alone then. So
//     it does with the NetworkPolicies, LimitRanges, ResourceQuotas and RoleBindings
//     in namespaces, and with what namespaces carry: nothing is left of an earlier
//     version of a Tenant, or of another Tenant, or of what was done by hand;
//   - what a write adds was given, by the very object that it is compiled from, in a
//     version of everything that the writer could still take for the present one. It
//     could not if the version was superseded before the writer was started;
//   - what was compiled for one life of a Tenant is never taken over by another, not
//     even when the garbage collector is late;
//   - nobody may use a namespace before there is in it what its Tenant imposes, which
//     so does not depend on being put right later;
//   - what others have made in a namespace is never touched, whatever its name and
//     labels;
//   - while nobody kills it, no write takes away what was given all the time;
//   - in the end there is what a controller makes that finds nothing.
//
// A failure names the seed of the edits. The edits, all events and all logs are kept.
package chaos

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

var (
	kills = flag.Int("kills", 50, "how many times the controller is killed")
	seed  = flag.Uint64("seed", 0, "seed of the edits and of the kills; 0 for a random one")
	// binary is relative to the repository. It was built with the race detector, see the
	// Makefile.
	binary = flag.String("controller", "bin/race/tenancy-controller", "the controller to kill")
)

// dir is where logs and records are. It stays if a test fails.
var dir string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if dir, err = os.MkdirTemp("", "tenancy-chaos-"); err != nil {
		return fail("create directory", err)
	}
	clients, err := os.Create(filepath.Join(dir, "clients.log"))
	if err != nil {
		return fail("create log", err)
	}
	defer clients.Close() //nolint:errcheck // the tests have said what there is to say
	logTo(clients)
	if code = m.Run(); code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintf(os.Stderr, "chaos: logs and records are in %s\n", dir)
	}
	return code
}

// logTo has client-go and controller-runtime log to w.
func logTo(w io.Writer) {
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(w)))
	klog.SetLogger(logger)
	ctrllog.SetLogger(logger)
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "chaos: %s: %v\n", what, err)
	return 1
}
