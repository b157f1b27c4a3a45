// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes tenancy-proxy a command: options, config, run.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"tenancy.capsule.io/cmd/internal/command"
)

// Name is the name of the command.
const Name = "tenancy-proxy"

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context) *cobra.Command {
	o := NewOptions()
	return command.New(ctx, command.Spec{
		Name:  Name,
		Short: "Answer the API server's own paths, with lists of what the caller may get",
		Long: "tenancy-proxy stands in front of the API server. It sends every request on with the credential of its\n" +
			"caller, and where the API server refuses a list that there is a view for, it asks the view and gives\n" +
			"the answer its native kind back.",
		Flags: o.Flags(), Logging: o.Logging,
		Run: func(ctx context.Context) error { return run(ctx, o) },
	})
}

func run(ctx context.Context, o *Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	// controller-runtime, which watches the files of the certificate, has a logger of its
	// own.
	log.SetLogger(klog.Background())
	klog.FromContext(ctx).Info("Starting", "proxy", Name, "version", version.Get().String())
	s, err := newServer(o)
	if err != nil {
		return fmt.Errorf("create %s: %w", Name, err)
	}
	return s.run(ctx)
}
