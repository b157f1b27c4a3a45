// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-controller a command: options, config, run.
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

	"tenancy.capsule.io/pkg/controller"
)

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	cmd := &cobra.Command{
		Use:   controller.Name,
		Short: "Give the owners of Tenants their namespaces, and compile what they may do to RBAC",
		Long: "tenancy-controller reconciles the kinds of capsule.clastix.io. It compiles what Tenants give to whom into\n" +
			"ordinary Roles, ClusterRoles and their bindings, and answers whose a new namespace is. Several replicas may\n" +
			"run: one leads and writes, all answer.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(o.Logging, nil); err != nil {
				return err
			}
			if err := o.Complete(); err != nil {
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
	// controller-runtime has a logger of its own, and says nothing without.
	ctrl.SetLogger(klog.Background())
	klog.FromContext(ctx).Info("Starting", "controller", controller.Name, "version", version.Get().String())
	config, err := o.Config()
	if err != nil {
		return fmt.Errorf("configure %s: %w", controller.Name, err)
	}
	manager, err := controller.New(ctx, *config)
	if err != nil {
		return fmt.Errorf("create %s: %w", controller.Name, err)
	}
	return manager.Run(ctx)
}
