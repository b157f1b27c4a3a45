// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app makes kubectl-tenancy a command: flags, and what they are to be.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
)

// displayName is what users type.
const displayName = "kubectl tenancy"

// NewCommand returns the command. It runs until the context is done.
func NewCommand(ctx context.Context, streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:         "tenancy",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: displayName},
		Short:       "See what Tenants give you, and list it natively",
		Long: "See what Tenants give you, and list it natively. Everything is asked for with the credential of your\n" +
			"kubeconfig, and with no right but yours.",
		// An error says what to do; the usage hides that.
		SilenceUsage: true,
	}
	// kubectl completes plugins in another way than that of commands on their own.
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetContext(ctx)
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true).WithWrapConfigFn(func(c *rest.Config) *rest.Config {
		c.UserAgent = rest.DefaultKubernetesUserAgent()
		return c
	})
	flags.AddFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		newProxyCommand(flags, streams),
		newAccessCommand(flags, streams),
		newKubeconfigCommand(flags, streams),
		newVersionCommand(streams),
	)
	return cmd
}

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(streams.Out, version.Get().String())
			return err
		},
	}
}

// warn tells the user something that is no error.
func warn(streams genericiooptions.IOStreams, warnings ...string) {
	for _, warning := range warnings {
		// Who does not read it misses nothing else.
		_, _ = fmt.Fprintf(streams.ErrOut, "Warning: %s\n", warning)
	}
}
