// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-controller a command: options, config, run.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"tenancy.capsule.io/cmd/internal/command"
	"tenancy.capsule.io/pkg/controller"
)

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	return command.New(ctx, command.Spec{
		Name:  controller.Name,
		Short: "Give the owners of Tenants their namespaces, and compile what they may do to RBAC",
		Long: "tenancy-controller reconciles the kinds of capsule.clastix.io. It compiles what Tenants give to whom into\n" +
			"ordinary Roles, ClusterRoles and their bindings, and answers whose a new namespace is. Several replicas may\n" +
			"run: one leads and writes, all answer.",
		Flags: o.Flags(), Logging: o.Logging,
		Run: func(ctx context.Context) error { return run(ctx, o) },
	})
}

func run(ctx context.Context, o *Options) error {
	if err := o.Complete(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
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
