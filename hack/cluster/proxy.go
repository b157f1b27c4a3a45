// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// usualProxyPort is the one of the proxy in a cluster.
const usualProxyPort = 9001

// chooseProxyPorts chooses those of the proxy, unless it has the ones that are asked for.
func (d *deployer) chooseProxyPorts() (err error) {
	port := d.o.proxyPort
	switch {
	case d.proxy.Server != 0 && (port == 0 || port == d.proxy.Server):
		return nil
	case port != 0:
		if err := controlplane.CheckPort(port); err != nil {
			return fmt.Errorf("choose port of %s: %w", deployment.ProxyName, err)
		}
	default:
		if err := controlplane.CheckPort(usualProxyPort); err == nil {
			port = usualProxyPort
		}
	}
	d.proxy, err = deployment.FreeProxyPorts(port)
	if err == nil && port == 0 {
		d.out.printf("Port %d is taken: %s serves at %d\n", usualProxyPort, deployment.ProxyName, d.proxy.Server)
	}
	return err
}

func (d *deployer) proxySpec() (*processSpec, error) {
	digest, err := digestOf(d.o.proxy)
	return &processSpec{
		Name:     deployment.ProxyName,
		Path:     d.o.proxy,
		Args:     append(deployment.ProxyArgs(d.l, d.proxy), d.o.proxyArgs...),
		Digest:   digest,
		ReadyURL: d.proxy.ReadyURL(),
		Ports:    ports{Proxy: d.proxy},
	}, err
}

// proxyURL is where the proxy serves.
func proxyURL(p deployment.ProxyPorts) string { return "https://" + p.Address() }

// throughProxy returns a kubeconfig with the proxy as the server.
func throughProxy(ctx context.Context, l deployment.Layout, kubeconfig []byte) ([]byte, error) {
	var st status
	err := call(ctx, l, "GET", statusPath, nil, &st)
	if errors.Is(err, errNoSupervisor) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, err
	}
	proxy, ok := st.Processes[deployment.ProxyName]
	if !ok {
		return nil, fmt.Errorf("%s is not running: run make up", deployment.ProxyName)
	}
	return deployment.WithServer(kubeconfig, proxyURL(proxy.Ports.Proxy))
}
