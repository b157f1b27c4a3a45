// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	kubeconfigSuffix = ".kubeconfig"
	// longestFileName is what common file systems allow.
	longestFileName = 255

	adminName  = "admin"
	serverName = "tenancy-apiserver"
	// tenantGroup is the group whose members Capsule takes for tenants' users.
	tenantGroup = "capsule.clastix.io"
)

func newKubeconfigCommand(l *layout) *cobra.Command {
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
func writeUserKubeconfig(l layout, name string, groups []string, out printer) error {
	if err := validateUser(name); err != nil {
		return err
	}
	if slices.Contains(groups, "") {
		return errors.New("a group has no name")
	}
	issuer, err := controlplane.OpenIssuer(l.controlPlane())
	if errors.Is(err, controlplane.ErrNotRunning) {
		return errors.New("the control plane is not running: run make up")
	}
	if err != nil {
		return err
	}
	if err := writeKubeconfig(l, issuer, name, name, groups); err != nil {
		return err
	}
	out.printf("%s\n", l.kubeconfig(name))
	return nil
}

// validateUser wants a user's name that is a file's name as well.
func validateUser(name string) error {
	switch {
	case name == "":
		return errors.New("the user has no name")
	case name == adminName || name == serverName:
		return fmt.Errorf("%q is the name of a kubeconfig that make up writes: choose another", name)
	case strings.ContainsRune(name, '/'):
		return fmt.Errorf("user %q has a slash: the name is also the file's", name)
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "-"):
		return fmt.Errorf("user %q begins with a dot or a dash: the name is also the file's", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("user %q has characters that do not print: the name is also the file's", name)
	case len(name)+len(kubeconfigSuffix) > longestFileName:
		return fmt.Errorf("user %q is too long: the name is also the file's", name)
	}
	return nil
}

// writeKubeconfig writes NAME.kubeconfig for a user.
func writeKubeconfig(l layout, issuer *controlplane.Issuer, name, user string, groups []string) error {
	if err := l.create(); err != nil {
		return err
	}
	data, err := issuer.Kubeconfig(user, groups...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.kubeconfig(name), data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", name, err)
	}
	return nil
}

// ensureKubeconfigs writes the kubeconfigs that up promises. One that is of this
// control plane stays as it is: its owner may have set a namespace in it.
func ensureKubeconfigs(l layout, issuer *controlplane.Issuer) error {
	for _, user := range []struct {
		name, user string
		groups     []string
	}{
		{adminName, "kubernetes-admin", []string{"system:masters"}},
		{"alice", "alice", []string{tenantGroup}},
		{"bob", "bob", []string{tenantGroup}},
		{serverName, "system:serviceaccount:tenancy-system:tenancy-apiserver",
			[]string{"system:serviceaccounts", "system:serviceaccounts:tenancy-system"}},
	} {
		current, err := isCurrent(l.kubeconfig(user.name), issuer)
		if err != nil {
			return err
		}
		if current {
			continue
		}
		if err := writeKubeconfig(l, issuer, user.name, user.user, user.groups); err != nil {
			return err
		}
	}
	return nil
}

// isCurrent reports whether the kubeconfig in the file is for the issuer's
// control plane.
func isCurrent(file string, issuer *controlplane.Issuer) (bool, error) {
	config, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		if cluster.Server != issuer.Server() || !bytes.Equal(cluster.CertificateAuthorityData, issuer.CACert()) {
			return false, nil
		}
	}
	return len(config.Clusters) > 0, nil
}
