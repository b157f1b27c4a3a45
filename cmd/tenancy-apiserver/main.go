// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command tenancy-apiserver serves tenancy.capsule.io: views of cluster-scoped
// resources that hold exactly what the caller may get.
package main

import (
	"os"
	"runtime/debug"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"tenancy.capsule.io/cmd/tenancy-apiserver/app"
)

// gcPercent is by how much the heap may grow, beyond what is live, before it is
// collected. What is live is small beside what lists and events leave behind. The
// environment variable GOGC overrides it.
const gcPercent = 50

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Run(app.NewCommand(genericapiserver.SetupSignalContext())))
}
