// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// Controller is a replica of tenancy-controller, that leads or not.
type Controller struct {
	*controlplane.Process
	// ControllerPorts are where it serves.
	deployment.ControllerPorts
}

// deployController applies the manifests and starts the controller that they are for.
func (s *System) deployController(ctx context.Context, args []string) error {
	ports, err := deployment.FreeControllerPorts()
	if err != nil {
		return err
	}
	if err := s.apply(ctx, ports.Webhooks); err != nil {
		return err
	}
	s.Controller, err = s.startController(ctx, deployment.ControllerName, ports, args)
	return err
}

// AddController starts a further replica and returns when it is ready. The API server
// does not call its webhooks, see BalanceWebhooks. The arguments come after those of
// the deployment.
func (s *System) AddController(ctx context.Context, name string, args ...string) (*Controller, error) {
	ports, err := deployment.FreeControllerPorts()
	if err != nil {
		return nil, err
	}
	return s.startController(ctx, name, ports, args)
}

func (s *System) startController(ctx context.Context, name string, ports deployment.ControllerPorts, args []string) (*Controller, error) {
	ready, err := s.ControlPlane.ReadyAt(ports.ReadyURL())
	if err != nil {
		return nil, err
	}
	process, err := s.addProcess(ctx, controlplane.ProcessSpec{
		Name: name, Path: s.controller, Args: append(deployment.ControllerArgs(s.layout, name, ports), args...), Ready: ready,
	})
	if err != nil {
		return nil, err
	}
	return &Controller{Process: process, ControllerPorts: ports}, nil
}
