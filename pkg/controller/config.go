// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"tenancy.capsule.io/pkg/controller/access"
)

const (
	// Name is the name of the program, of its Lease and of its webhook configurations.
	Name = "tenancy-controller"
	// Access is the name of the reconciler that runs beside another operator of Tenants.
	Access = access.Name

	// everything stands in a selection for all reconcilers, and without before the
	// name of one for all but this one.
	everything = "*"
	without    = "-"
)

// Config says what a controller does, and where.
type Config struct {
	// Client reaches the API server.
	Client *rest.Config
	// Controllers are the names of the reconcilers to run, see Select.
	Controllers []string
	// CompileWriteOperations says whether the operations Update and Delete of
	// proxySettings become rights.
	CompileWriteOperations bool
	// ConfigurationName is the name of the CapsuleConfiguration that counts.
	ConfigurationName string
	// Namespace is the controller's own: of its Secret and of the Services that it
	// makes certificates for.
	Namespace string

	// LeaderElection is how one of several replicas is chosen; nil if there is but one.
	LeaderElection *LeaderElection
	// Webhooks is where webhooks are served; nil if they are not.
	Webhooks *Address
	// WebhookClientCAFile holds the CA of the certificates that whoever calls webhooks
	// has to show; empty if they need none. It is read by New.
	WebhookClientCAFile string
	// CertDir holds tls.crt and tls.key, which webhooks and metrics are served with.
	CertDir string
	// CertificateSecret is the name of a Secret in which the controller keeps a CA and
	// a certificate of its own, that it writes to CertDir. Empty if somebody else
	// sees to CertDir.
	CertificateSecret string

	// MetricsAddress is where metrics are served; MetricsSecure says whether by TLS and
	// to who may get them, or to anybody who can reach the address.
	MetricsAddress string
	MetricsSecure  bool
	// HealthAddress is where /healthz and /readyz are served.
	HealthAddress string
	// ProfilingAddress is where profiles are served; empty if they are not.
	ProfilingAddress string
	// ShutdownDelay is how long webhooks are still served after the controller was
	// told to stop: until the last API server has heard of it.
	ShutdownDelay time.Duration
}

// LeaderElection is by a Lease of the controller's name.
type LeaderElection struct {
	Namespace string
	// LeaseDuration is how long the others wait for a leader that is not heard of,
	// RenewDeadline how long a leader tries to be heard, RetryPeriod how often.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Address is a host, empty for all of them, and a port.
type Address struct {
	Host string
	Port int
}

// Names returns the names of all reconcilers.
func Names() []string {
	all := reconcilers()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return names
}

// Select returns the reconcilers that a list of names means: "*" all of them, "x"
// the one, "-x" not the one, whatever else is said.
func Select(list []string) ([]string, error) {
	names := Names()
	var unknown []string
	for _, item := range list {
		if name := strings.TrimPrefix(item, without); item != everything && !slices.Contains(names, name) {
			unknown = append(unknown, fmt.Sprintf("%q", item))
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("there is no controller %s: known are %s", strings.Join(unknown, ", "), strings.Join(names, ", "))
	}
	selected := slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains(list, without+name) || !slices.Contains(list, name) && !slices.Contains(list, everything)
	})
	if len(selected) == 0 {
		return nil, fmt.Errorf("%q leaves no controller to run: known are %s", strings.Join(list, ","), strings.Join(Names(), ", "))
	}
	return selected, nil
}
