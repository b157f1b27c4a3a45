// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command tenancy-controller reconciles Tenants: it gives their owners namespaces,
// and compiles what they may do to RBAC.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"tenancy.capsule.io/cmd/tenancy-controller/app"
)

func main() { os.Exit(cli.Run(app.NewCommand(genericapiserver.SetupSignalContext()))) }
