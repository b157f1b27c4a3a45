// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin tests kubectl-tenancy as users have it: run by kubectl, on a real
// control plane with tenancy-controller, tenancy-apiserver and a tenancy-proxy. The tests
// share one Tenant, whose owner they are.
package plugin

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

// system is what all tests ask, and proxy what stands in front of it.
var (
	system *framework.System
	proxy  *framework.Proxy
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "tenancy-plugin-")
	if err != nil {
		return fail("create directory", err)
	}
	ctrllog.SetLogger(klog.Background())
	ctx := context.Background()
	// All are built with the race detector, see the Makefile.
	system, err = framework.Start(ctx, framework.Options{
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
			fmt.Fprintf(os.Stderr, "plugin: logs are in %s\n", dir)
		}
	}()
	if proxy, err = system.AddProxy(ctx, "bin/race/tenancy-proxy", "tenancy-proxy"); err != nil {
		return fail("start proxy", err)
	}
	if err := setUp(ctx, dir); err != nil {
		return fail("set up", err)
	}
	return m.Run()
}

func fail(what string, err error) int {
	fmt.Fprintf(os.Stderr, "plugin: %s: %v\n", what, err)
	return 1
}

// setUp makes a Tenant with what its owner is to see.
func setUp(ctx context.Context, dir string) error {
	kubeconfig, err := system.ControlPlane.Kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	admin, err := newUser(dir, "admin", kubeconfig)
	if err != nil {
		return err
	}
	return admin.apply(ctx, manifests)
}

const manifests = `
apiVersion: capsule.clastix.io/v1beta2
kind: Tenant
metadata: {name: oil}
spec:
  owners:
  - kind: User
    name: alice
    proxySettings:
    - {kind: StorageClasses, operations: [List]}
    - {kind: IngressClasses, operations: [List, Delete]}
  storageClasses: {allowed: [cephfs, custom]}
  ingressOptions: {allowedClasses: {allowed: [internal]}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: cephfs}, provisioner: rook.io/cephfs}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: custom}, provisioner: custom.example.com}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: hidden}, provisioner: hidden.example.com}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: internal}, spec: {controller: example.com/internal}}
`
