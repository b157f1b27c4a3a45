// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-apiserver a command: options, config, run.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/component-base/version"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/pkg/apiserver"
)

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	cmd := &cobra.Command{
		Use:   apiserver.Name,
		Short: "Serve views of cluster-scoped resources that hold exactly what the caller may get",
		Long: "tenancy-apiserver is an aggregated API server. It serves tenancy.capsule.io: for namespaces and other\n" +
			"cluster-scoped resources a list of exactly those objects that RBAC allows the caller to get.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			// Feature gates are global: they have to be set before anything asks.
			return o.Run.ComponentGlobalsRegistry.Set()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(o.Logging, nil); err != nil {
				return err
			}
			o.Complete()
			if err := o.Validate(); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	cmd.SetContext(ctx)
	fss := o.Flags()
	verflag.AddFlags(fss.FlagSet("global"))
	globalflag.AddGlobalFlags(fss.FlagSet("global"), cmd.Name())
	for _, fs := range fss.FlagSets {
		cmd.Flags().AddFlagSet(fs)
	}
	columns, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, fss, columns)
	return cmd
}

func run(ctx context.Context, o *Options) error {
	klog.FromContext(ctx).Info("Starting", "server", apiserver.Name, "version", version.Get().String())
	config, err := o.Config()
	if err != nil {
		return fmt.Errorf("configure %s: %w", apiserver.Name, err)
	}
	completed, err := config.Complete()
	if err != nil {
		return fmt.Errorf("configure %s: %w", apiserver.Name, err)
	}
	server, err := completed.New()
	if err != nil {
		return fmt.Errorf("create %s: %w", apiserver.Name, err)
	}
	return server.Run(ctx)
}
