// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-proxy a command: options, config, run.
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
	ctrl "sigs.k8s.io/controller-runtime"
)

// Name is the name of the command.
const Name = "tenancy-proxy"

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	cmd := &cobra.Command{
		Use:   Name,
		Short: "Answer the API server's own paths, with lists of what the caller may get",
		Long: "tenancy-proxy stands in front of the API server. It sends every request on with the credential of its\n" +
			"caller, and where the API server refuses a list that there is a view for, it asks the view and gives\n" +
			"the answer its native kind back.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(o.Logging, nil); err != nil {
				return err
			}
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
	// controller-runtime, which watches the files of the certificate, has a logger of its
	// own.
	ctrl.SetLogger(klog.Background())
	klog.FromContext(ctx).Info("Starting", "proxy", Name, "version", version.Get().String())
	s, err := newServer(o)
	if err != nil {
		return fmt.Errorf("create %s: %w", Name, err)
	}
	return s.run(ctx)
}
