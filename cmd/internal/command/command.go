// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package command makes commands that run until they are stopped: flags in named groups,
// logs, --version, as the components of Kubernetes have them.
package command

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/component-base/version/verflag"
)

// gcPercent is by how much the heap may grow, beyond what is live, before it is
// collected. What is live is small beside what lists and events leave behind. The
// environment variable GOGC overrides it.
const gcPercent = 50

// Spec is what a command has of its own.
type Spec struct {
	Name, Short, Long string
	// Flags are in groups, by which the help shows them.
	Flags cliflag.NamedFlagSets
	// Logging is set by some of the flags, and applied before Run.
	Logging *logs.Options
	// Run runs until the context is done.
	Run func(context.Context) error
}

// New returns the command. It runs until the context is done.
func New(ctx context.Context, spec Spec) *cobra.Command {
	cmd := &cobra.Command{
		Use:          spec.Name,
		Short:        spec.Short,
		Long:         spec.Long,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(spec.Logging, nil); err != nil {
				return err
			}
			if _, set := os.LookupEnv("GOGC"); !set {
				debug.SetGCPercent(gcPercent)
			}
			return spec.Run(cmd.Context())
		},
	}
	cmd.SetContext(ctx)
	fss := spec.Flags
	verflag.AddFlags(fss.FlagSet("global"))
	globalflag.AddGlobalFlags(fss.FlagSet("global"), cmd.Name())
	for _, fs := range fss.FlagSets {
		cmd.Flags().AddFlagSet(fs)
	}
	columns, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, fss, columns)
	return cmd
}
