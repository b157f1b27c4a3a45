// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"tenancy.capsule.io/pkg/plugin/access"
)

// formats are what access is printed in, beside a table.
var formats = []string{access.FormatWide, access.FormatName, access.FormatJSON, access.FormatYAML}

func newAccessCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var format string
	var noHeaders bool
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Print what you may see and do, by tenant and resource",
		Long: "Print what you may see and do, by tenant and resource. What you may get is what the views of\n" +
			"tenancy.capsule.io hold for you; it can be listed and watched there, or natively through a proxy.\n" +
			"What you may update, patch or delete is what RBAC says; admission may refuse it still. Objects of one\n" +
			"tenant and resource to which different things may be done are in rows of their own.",
		Example: "  # What you may see and do\n" +
			"  kubectl tenancy access\n\n" +
			"  # What somebody else may, if you may impersonate\n" +
			"  kubectl tenancy access --as=alice --as-group=capsule.clastix.io\n\n" +
			"  # All of it natively, by name\n" +
			"  kubectl get $(kubectl tenancy access -o name)",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "" && !slices.Contains(formats, format) {
				return fmt.Errorf("--output %q is not a format: choose one of %s", format, strings.Join(formats, ", "))
			}
			config, err := flags.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			reader, err := access.NewReader(config)
			if err != nil {
				return err
			}
			found, err := reader.Read(cmd.Context())
			if found == nil {
				return err
			}
			return errors.Join(printAccess(streams, found, format, !noHeaders), err)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "Output format. One of: "+strings.Join(formats, ", ")+".")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Print a table without its headers.")
	return cmd
}

func printAccess(streams genericiooptions.IOStreams, found *access.Access, format string, headers bool) error {
	warn(streams, found.Warnings...)
	isTable := format == "" || format == access.FormatWide
	if isTable && len(found.Items) == 0 {
		_, err := fmt.Fprintln(streams.ErrOut, "You may get nothing of what there are views of.")
		return err
	}
	return found.Print(streams.Out, format, headers)
}
