// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// errNotRunning says that there is nothing to write a kubeconfig for.
var errNotRunning = errors.New("the control plane is not running: run make up")

// longestFileName is what common file systems allow.
const longestFileName = 255

// userOptions say what the kubeconfig of a user holds.
type userOptions struct {
	// oidc asks for a token in place of a certificate, proxy for the proxy as the
	// server.
	oidc, proxy bool
}

// file is the name of the kubeconfig, without its suffix.
func (o userOptions) file(name string) string {
	if o.proxy {
		return name + deployment.ProxySuffix
	}
	return name
}

func newKubeconfigCommand(l *deployment.Layout) *cobra.Command {
	var o userOptions
	cmd := &cobra.Command{
		Use:   "kubeconfig NAME [GROUP...]",
		Short: "Write .run/kubeconfig/NAME.kubeconfig with a client certificate of that user, or with a token",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeUserKubeconfig(cmd.Context(), *l, args[0], args[1:], o, printer{cmd.OutOrStdout()})
		},
	}
	cmd.Flags().BoolVar(&o.proxy, "proxy", false, "with tenancy-proxy for the server, in NAME"+deployment.ProxySuffix+deployment.KubeconfigSuffix)
	cmd.Flags().BoolVar(&o.oidc, "oidc", false,
		fmt.Sprintf("a token of the OpenID Connect issuer, valid for %.0f hours, in place of the certificate", controlplane.TokenLifetime.Hours()))
	return cmd
}

// writeUserKubeconfig writes the kubeconfig of any user and prints its path.
func writeUserKubeconfig(ctx context.Context, l deployment.Layout, name string, groups []string, o userOptions, out printer) error {
	if err := validateUser(name, o); err != nil {
		return err
	}
	if err := validateGroups(groups); err != nil {
		return err
	}
	if o.oidc {
		if err := validateForToken(append([]string{name}, groups...)); err != nil {
			return err
		}
	}
	issuer, err := controlplane.OpenIssuer(l.ControlPlane())
	if errors.Is(err, controlplane.ErrNotRunning) {
		return errNotRunning
	}
	if err != nil {
		return err
	}
	encode := issuer.Kubeconfig
	if o.oidc {
		encode = issuer.TokenKubeconfig
	}
	data, err := encode(name, groups...)
	if err != nil {
		return err
	}
	if o.proxy {
		if data, err = throughProxy(ctx, l, data); err != nil {
			return err
		}
	}
	if err := l.Create(); err != nil {
		return err
	}
	file := l.Kubeconfig(o.file(name))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", name, err)
	}
	out.printf("%s\n", file)
	return nil
}

// validateUser wants a user's name that is a file's name as well.
func validateUser(name string, o userOptions) error {
	reserved := []string{deployment.AdminName, deployment.ServerName, deployment.ControllerName, deployment.ProxyName}
	switch {
	case name == "":
		return errors.New("the user has no name")
	case slices.Contains(reserved, name):
		return fmt.Errorf("%q is the name of a kubeconfig that make up writes: choose another", name)
	case slices.Contains(reserved, o.file(name)):
		return fmt.Errorf("%q is the name of a kubeconfig that make up writes: choose another", o.file(name))
	case strings.HasSuffix(name, deployment.ProxySuffix):
		return fmt.Errorf("user %q ends with %s, as kubeconfigs of the proxy do: choose another", name, deployment.ProxySuffix)
	case strings.ContainsRune(name, '/'):
		return fmt.Errorf("user %q has a slash: the name is also the file's", name)
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "-"):
		return fmt.Errorf("user %q begins with a dot or a dash: the name is also the file's", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("user %q has characters that do not print: the name is also the file's", name)
	case len(o.file(name))+len(deployment.KubeconfigSuffix) > longestFileName:
		return fmt.Errorf("user %q is too long: the name is also the file's", name)
	}
	return nil
}

func validateGroups(groups []string) error {
	for _, group := range groups {
		switch {
		case group == "":
			return errors.New("a group has no name")
		case strings.HasPrefix(group, "-"):
			return fmt.Errorf("group %q begins with a dash: flags come before the user's name", group)
		}
	}
	return nil
}

// validateForToken wants names that the API server takes from the issuer.
func validateForToken(names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, "system:") {
			return fmt.Errorf("%q cannot be in a token: names that begin with system: are the cluster's own", name)
		}
	}
	return nil
}
