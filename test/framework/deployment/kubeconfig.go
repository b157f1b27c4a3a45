// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"k8s.io/client-go/tools/clientcmd"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// AdminName is the name of the administrator's kubeconfig.
	AdminName = "admin"
	// tenantGroup is the group whose members Capsule takes for tenants' users.
	tenantGroup = "capsule.clastix.io"
)

// WriteKubeconfig writes NAME.kubeconfig for a user.
func WriteKubeconfig(l Layout, issuer *controlplane.Issuer, name, user string, groups []string) error {
	if err := l.Create(); err != nil {
		return err
	}
	data, err := issuer.Kubeconfig(user, groups...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.Kubeconfig(name), data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", name, err)
	}
	return nil
}

// EnsureKubeconfigs writes the kubeconfigs that up promises. One that is of this
// control plane stays as it is: its owner may have set a namespace in it.
func EnsureKubeconfigs(l Layout, issuer *controlplane.Issuer) error {
	for _, user := range []struct {
		name, user string
		groups     []string
	}{
		{AdminName, "kubernetes-admin", []string{"system:masters"}},
		{"alice", "alice", []string{tenantGroup}},
		{"bob", "bob", []string{tenantGroup}},
		{ServerName, "system:serviceaccount:tenancy-system:tenancy-apiserver",
			[]string{"system:serviceaccounts", "system:serviceaccounts:tenancy-system"}},
	} {
		current, err := isCurrent(l.Kubeconfig(user.name), issuer)
		if err != nil {
			return err
		}
		if current {
			continue
		}
		if err := WriteKubeconfig(l, issuer, user.name, user.user, user.groups); err != nil {
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
