// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command tenancy-apiserver serves tenancy.capsule.io: views of cluster-scoped
// resources that hold exactly what the caller may get.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"tenancy.capsule.io/cmd/tenancy-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewCommand(genericapiserver.SetupSignalContext()))) }
