// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-tenancy is a plugin of kubectl: "kubectl tenancy" runs it.
package main

import (
	"context"
	"fmt"
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
	// Users read errors, and no logs of them.
	if err := cli.RunNoErrOutput(app.NewCommand(ctx, streams)); err != nil {
		_, _ = fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
		return 1
	}
	return 0
}
