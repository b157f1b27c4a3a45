// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command tenancy-proxy answers native paths: it asks a view where the API server
// refuses to list, and passes on everything else.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"

	"tenancy.capsule.io/cmd/tenancy-proxy/app"
)

func main() { os.Exit(cli.Run(app.NewCommand(signals.SetupSignalHandler()))) }
