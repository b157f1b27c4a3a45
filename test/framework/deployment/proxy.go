// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"slices"
	"strconv"
	"strings"

	"tenancy.capsule.io/test/framework/controlplane"
)

// ProxyName is the name of the proxy, of its kubeconfig and of its logs.
const ProxyName = "tenancy-proxy"

// ProxyPorts are where a proxy serves on this host.
type ProxyPorts struct {
	Server  int `json:"server"`
	Metrics int `json:"metrics"`
	Health  int `json:"health"`
}

// FreeProxyPorts returns ports that nobody listens on. The first is kept if it is not 0.
func FreeProxyPorts(server int) (p ProxyPorts, err error) {
	p.Server = server
	for _, port := range []*int{&p.Server, &p.Metrics, &p.Health} {
		if *port != 0 {
			continue
		}
		if *port, err = controlplane.FreePort(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Address is where the proxy serves, a host and a port.
func (p ProxyPorts) Address() string { return localAddress(p.Server) }

// MetricsURL is where metrics are, for everybody on this host.
func (p ProxyPorts) MetricsURL() string { return localURL(p.Metrics) + "/metrics" }

// ReadyURL answers 200 when the proxy is ready.
func (p ProxyPorts) ReadyURL() string { return localURL(p.Health) + "/readyz" }

// ProxyArgs returns the arguments of tenancy-proxy, with an identity that has the rights
// of artifacts/ and no other, and a certificate of the control plane's CA.
func ProxyArgs(l Layout, p ProxyPorts) []string {
	return []string{
		"--kubeconfig=" + l.Kubeconfig(ProxyName),
		"--bind-address=" + localhost,
		"--listening-port=" + strconv.Itoa(p.Server),
		"--ssl-cert-path=" + l.ServingCert(),
		"--ssl-key-path=" + l.ServingKey(),
		"--metrics-addr=" + localAddress(p.Metrics),
		"--health-probe-bind-address=" + localAddress(p.Health),
		"--v=2",
	}
}

// PlainProxyArgs is ProxyArgs without TLS.
func PlainProxyArgs(l Layout, p ProxyPorts) []string {
	return append(slices.DeleteFunc(ProxyArgs(l, p), func(arg string) bool {
		return strings.HasPrefix(arg, "--ssl-")
	}), "--enable-ssl=false")
}
