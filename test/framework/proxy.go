// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// Proxy is a process of tenancy-proxy.
type Proxy struct {
	*controlplane.Process
	// ProxyPorts are where it serves.
	deployment.ProxyPorts

	system *System
	scheme string
}

// AddProxy starts a tenancy-proxy, a path of which is given relative to the repository,
// and returns when it is ready. The arguments come after those of the deployment.
func (s *System) AddProxy(ctx context.Context, path, name string, args ...string) (*Proxy, error) {
	return s.addProxy(ctx, path, name, func(ports deployment.ProxyPorts) []string {
		return append(deployment.ProxyArgs(s.layout, ports), args...)
	}, "https")
}

// AddPlainProxy is AddProxy without TLS.
func (s *System) AddPlainProxy(ctx context.Context, path, name string, args ...string) (*Proxy, error) {
	return s.addProxy(ctx, path, name, func(ports deployment.ProxyPorts) []string {
		return append(deployment.PlainProxyArgs(s.layout, ports), args...)
	}, "http")
}

func (s *System) addProxy(ctx context.Context, path, name string, args func(deployment.ProxyPorts) []string, scheme string) (*Proxy, error) {
	ports, err := deployment.FreeProxyPorts(0)
	if err != nil {
		return nil, err
	}
	ready, err := s.ControlPlane.ReadyAt(ports.ReadyURL())
	if err != nil {
		return nil, err
	}
	process, err := s.addProcess(ctx, controlplane.ProcessSpec{
		Name: name, Path: filepath.Join(s.layout.Repo, path), Args: args(ports), Ready: ready,
	})
	if err != nil {
		return nil, err
	}
	return &Proxy{process, ports, s, scheme}, nil
}

// URL is where the proxy serves.
func (p *Proxy) URL() string { return p.scheme + "://" + p.Address() }

// Config returns a config that asks the proxy what the other asks the API server.
func (p *Proxy) Config(config *rest.Config) *rest.Config {
	through := rest.CopyConfig(config)
	through.Host = p.URL()
	return through
}

// Kubectl returns the kubectl of a user, who asks the proxy and has a client certificate.
func (p *Proxy) Kubectl(tb testing.TB, user string, groups ...string) *Kubectl {
	tb.Helper()
	kubeconfig, err := p.system.ControlPlane.Kubeconfig(user, groups...)
	require.NoError(tb, err)
	return newKubectl(tb, p.kubeconfig(tb, kubeconfig))
}

// TokenKubectl is Kubectl by a token of the control plane's OpenID Connect issuer.
func (p *Proxy) TokenKubectl(tb testing.TB, user string, groups ...string) *Kubectl {
	tb.Helper()
	kubeconfig, err := p.system.ControlPlane.TokenKubeconfig(user, groups...)
	require.NoError(tb, err)
	return newKubectl(tb, p.kubeconfig(tb, kubeconfig))
}

// kubeconfig returns a kubeconfig of the API server as one of the proxy.
func (p *Proxy) kubeconfig(tb testing.TB, kubeconfig []byte) []byte {
	tb.Helper()
	kubeconfig, err := deployment.WithServer(kubeconfig, p.URL())
	require.NoError(tb, err)
	return kubeconfig
}
