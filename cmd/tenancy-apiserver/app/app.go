// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-apiserver a command: options, config, run.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/cmd/internal/command"
	"tenancy.capsule.io/pkg/apiserver"
)

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	cmd := command.New(ctx, command.Spec{
		Name:  apiserver.Name,
		Short: "Serve views of cluster-scoped resources that hold exactly what the caller may get",
		Long: "tenancy-apiserver is an aggregated API server. It serves tenancy.capsule.io: for namespaces and other\n" +
			"cluster-scoped resources a list of exactly those objects that RBAC allows the caller to get.",
		Flags: o.Flags(), Logging: o.Logging,
		Run: func(ctx context.Context) error { return run(ctx, o) },
	})
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		// Feature gates are global: they have to be set before anything asks.
		return o.Run.ComponentGlobalsRegistry.Set()
	}
	return cmd
}

func run(ctx context.Context, o *Options) error {
	o.Complete()
	if err := o.Validate(); err != nil {
		return err
	}
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
