// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-tenancy is a plugin of kubectl: "kubectl tenancy" runs it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what credentials of kubeconfigs need
	"k8s.io/component-base/cli"

	"tenancy.capsule.io/cmd/kubectl-tenancy/app"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	return cli.Run(app.NewCommand(ctx, streams))
}
