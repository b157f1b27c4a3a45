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
	// DevName is the name of a user with a token, who is in groups that have GUIDs for
	// names: those of artifacts/examples/*-aks.yaml.
	DevName = "capsule-user-dev@example.com"
	// tenantGroup is the group whose members Capsule takes for tenants' users.
	tenantGroup = "capsule.clastix.io"

	// serviceAccountPrefix begins the user names of the service accounts that the
	// manifests give rights to.
	serviceAccountPrefix = "system:serviceaccount:tenancy-system:"
)

// ProxyUsers are those for whom there is a kubeconfig of the proxy, too.
var ProxyUsers = []string{"alice", "bob", DevName}

// devGroups are capsule users, and the owners of the Tenant dev.
var devGroups = []string{"03c9ccac-5b1e-4a51-9d0b-6a3f2a9d3f10", "0fd5e5bb-39bb-468c-b343-dcdfb01e92d0"}

// serviceAccountGroups are the groups of these service accounts.
var serviceAccountGroups = []string{"system:serviceaccounts", "system:serviceaccounts:tenancy-system"}

// write writes NAME.kubeconfig.
func write(l Layout, name string, kubeconfig []byte) error {
	if err := l.Create(); err != nil {
		return err
	}
	if err := os.WriteFile(l.Kubeconfig(name), kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", name, err)
	}
	return nil
}

// EnsureKubeconfigs writes the kubeconfigs that up promises. One that is of this
// control plane stays as it is: its owner may have set a namespace in it. One with a
// token, which is valid for hours, is new each time.
func EnsureKubeconfigs(l Layout, issuer *controlplane.Issuer) error {
	for _, user := range []struct {
		name, user string
		groups     []string
	}{
		{AdminName, "kubernetes-admin", []string{"system:masters"}},
		{"alice", "alice", []string{tenantGroup}},
		{"bob", "bob", []string{tenantGroup}},
		{ServerName, serviceAccountPrefix + ServerName, serviceAccountGroups},
		{ControllerName, serviceAccountPrefix + ControllerName, serviceAccountGroups},
		{ProxyName, serviceAccountPrefix + ProxyName, serviceAccountGroups},
	} {
		current, err := isCurrent(l.Kubeconfig(user.name), issuer, issuer.Server())
		if err != nil {
			return err
		}
		if current {
			continue
		}
		data, err := issuer.Kubeconfig(user.user, user.groups...)
		if err != nil {
			return err
		}
		if err := write(l, user.name, data); err != nil {
			return err
		}
	}
	data, err := issuer.TokenKubeconfig(DevName, devGroups...)
	if err != nil {
		return err
	}
	return write(l, DevName, data)
}

// EnsureProxyKubeconfigs writes the kubeconfigs of users who ask the proxy at a URL: their
// own ones, with another server. What stays as it is is what EnsureKubeconfigs leaves.
func EnsureProxyKubeconfigs(l Layout, issuer *controlplane.Issuer, url string) error {
	for _, name := range ProxyUsers {
		current, err := isCurrent(l.ProxyKubeconfig(name), issuer, url)
		if err != nil {
			return err
		}
		if current && name != DevName {
			continue
		}
		data, err := os.ReadFile(l.Kubeconfig(name))
		if err != nil {
			return fmt.Errorf("read kubeconfig of %s: %w", name, err)
		}
		if data, err = WithServer(data, url); err != nil {
			return err
		}
		if err := write(l, name+ProxySuffix, data); err != nil {
			return err
		}
	}
	return nil
}

// WithServer returns a kubeconfig with another server, whose certificate has the same CA.
func WithServer(kubeconfig []byte, url string) ([]byte, error) {
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = url
	}
	if kubeconfig, err = clientcmd.Write(*config); err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return kubeconfig, nil
}

// isCurrent reports whether the kubeconfig in the file is for a server of the issuer's
// control plane.
func isCurrent(file string, issuer *controlplane.Issuer, server string) (bool, error) {
	config, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		if cluster.Server != server || !bytes.Equal(cluster.CertificateAuthorityData, issuer.CACert()) {
			return false, nil
		}
	}
	return len(config.Clusters) > 0, nil
}
