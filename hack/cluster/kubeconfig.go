// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// longestFileName is what common file systems allow.
const longestFileName = 255

func newKubeconfigCommand(l *deployment.Layout) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig NAME [GROUP...]",
		Short: "Write .run/kubeconfig/NAME.kubeconfig with a client certificate of that user",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeUserKubeconfig(*l, args[0], args[1:], printer{cmd.OutOrStdout()})
		},
	}
}

// writeUserKubeconfig writes the kubeconfig of any user and prints its path.
func writeUserKubeconfig(l deployment.Layout, name string, groups []string, out printer) error {
	if err := validateUser(name); err != nil {
		return err
	}
	if slices.Contains(groups, "") {
		return errors.New("a group has no name")
	}
	issuer, err := controlplane.OpenIssuer(l.ControlPlane())
	if errors.Is(err, controlplane.ErrNotRunning) {
		return errors.New("the control plane is not running: run make up")
	}
	if err != nil {
		return err
	}
	if err := deployment.WriteKubeconfig(l, issuer, name, name, groups); err != nil {
		return err
	}
	out.printf("%s\n", l.Kubeconfig(name))
	return nil
}

// validateUser wants a user's name that is a file's name as well.
func validateUser(name string) error {
	switch {
	case name == "":
		return errors.New("the user has no name")
	case name == deployment.AdminName || name == deployment.ServerName:
		return fmt.Errorf("%q is the name of a kubeconfig that make up writes: choose another", name)
	case strings.ContainsRune(name, '/'):
		return fmt.Errorf("user %q has a slash: the name is also the file's", name)
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "-"):
		return fmt.Errorf("user %q begins with a dot or a dash: the name is also the file's", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("user %q has characters that do not print: the name is also the file's", name)
	case len(name)+len(deployment.KubeconfigSuffix) > longestFileName:
		return fmt.Errorf("user %q is too long: the name is also the file's", name)
	}
	return nil
}
