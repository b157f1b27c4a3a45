// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command cluster is behind `make up` and `make down`: a control plane on this
// machine with tenancy-apiserver and tenancy-controller registered in it, and
// tenancy-proxy in front of it, which outlives the terminal that started it.
//
//	cluster up               start what does not run, apply artifacts/, wait
//	cluster kubeconfig carol write a kubeconfig for any user; --oidc: with a token;
//	                         --proxy: of the proxy
//	cluster down             end everything, remove the data, keep the logs
//
// A detached process (the hidden command "run") supervises the children; up
// talks to it through a socket. All state is in .run/.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tenancy.capsule.io/test/framework/deployment"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func newCommand() *cobra.Command {
	var runDir string
	var l deployment.Layout
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A control plane on this machine with tenancy-apiserver, tenancy-controller and tenancy-proxy",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			l, err = deployment.NewLayout(runDir)
			return err
		},
	}
	root.PersistentFlags().StringVar(&runDir, "run-dir", "", "directory of all state (default .run of the repository)")
	root.AddCommand(newUpCommand(&l), newDownCommand(&l), newKubeconfigCommand(&l), newRunCommand(&l))
	return root
}

// printer writes what a command has to say.
type printer struct{ io.Writer }

func (p printer) printf(format string, args ...any) {
	fmt.Fprintf(p, format, args...) //nolint:errcheck // nobody is left to be told
}
