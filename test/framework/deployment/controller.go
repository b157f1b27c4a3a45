// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"net"
	"strconv"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// ControllerName is the name of the controller, of its kubeconfig, of its Service
	// and of its logs.
	ControllerName = "tenancy-controller"

	// certificateSecret is where the controller keeps its certificate.
	certificateSecret = "tenancy-tls"
)

// ControllerPorts are where a controller serves on this host.
type ControllerPorts struct {
	Webhooks int `json:"webhooks"`
	Metrics  int `json:"metrics"`
	Health   int `json:"health"`
}

// FreeControllerPorts returns ports that nobody listens on.
func FreeControllerPorts() (p ControllerPorts, err error) {
	for _, port := range []*int{&p.Webhooks, &p.Metrics, &p.Health} {
		if *port, err = controlplane.FreePort(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// MetricsURL is where metrics are, for everybody on this host.
func (p ControllerPorts) MetricsURL() string { return localURL(p.Metrics) + "/metrics" }

// ReadyURL answers 200 when the controller is ready.
func (p ControllerPorts) ReadyURL() string { return localURL(p.Health) + "/readyz" }

func localURL(port int) string { return "http://" + localAddress(port) }

func localAddress(port int) string { return net.JoinHostPort(localhost, strconv.Itoa(port)) }

// ControllerArgs returns the arguments of tenancy-controller, with an identity that
// has the rights of artifacts/ and no other. Each replica has a name of its own.
func ControllerArgs(l Layout, name string, p ControllerPorts) []string {
	return []string{
		"--kubeconfig=" + l.Kubeconfig(ControllerName),
		"--certificate-secret=" + certificateSecret,
		"--webhook-cert-dir=" + l.ControllerCerts(name),
		"--webhook-bind-address=" + localhost,
		"--webhook-port=" + strconv.Itoa(p.Webhooks),
		"--metrics-bind-address=" + localAddress(p.Metrics),
		// Who is on this host may know.
		"--metrics-secure=false",
		"--health-probe-bind-address=" + localAddress(p.Health),
		"--v=2",
	}
}
