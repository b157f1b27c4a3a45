// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package framework runs the whole system for tests: a control plane with
// tenancy-apiserver registered in it. One system is shared by all tests of a
// package; each test keeps to objects of its own.
package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// Options say what a system is to run.
type Options struct {
	// Dir is the directory of its state.
	Dir string
	// Server is the path of tenancy-apiserver, relative to the repository.
	Server string
	// ServerArgs come after the arguments of the deployment.
	ServerArgs []string
	// ControlPlane has its Dir and LogDir set by Start.
	ControlPlane controlplane.Config
}

// System is a running system. Its methods may be called concurrently.
type System struct {
	// ControlPlane issues identities and can be asked for its processes.
	ControlPlane *controlplane.ControlPlane
	// Server is tenancy-apiserver.
	Server *controlplane.Process
	// URL is where it serves.
	URL string

	layout  deployment.Layout
	kubectl *deployment.Kubectl
}

// Start starts a system and returns when requests to the views are answered.
func Start(ctx context.Context, o Options) (*System, error) {
	layout, err := deployment.NewLayout(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := layout.Create(); err != nil {
		return nil, err
	}
	kubectl, err := deployment.NewKubectl(layout)
	if err != nil {
		return nil, err
	}
	o.ControlPlane.Dir, o.ControlPlane.LogDir = layout.ControlPlane(), layout.Logs()
	cp, err := controlplane.Start(ctx, o.ControlPlane)
	if err != nil {
		return nil, err
	}
	s := &System{ControlPlane: cp, layout: layout, kubectl: kubectl}
	if err := s.deploy(ctx, o); err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	return s, nil
}

func (s *System) deploy(ctx context.Context, o Options) error {
	port, err := controlplane.FreePort()
	if err != nil {
		return err
	}
	artifacts := filepath.Join(s.layout.Repo, "artifacts")
	if err := errors.Join(
		deployment.EnsureKubeconfigs(s.layout, s.ControlPlane.Issuer),
		deployment.EnsureServingCert(s.layout, s.ControlPlane.Issuer),
	); err != nil {
		return err
	}
	if err := s.kubectl.ApplyHost(ctx, artifacts, s.ControlPlane.CACert(), port, io.Discard); err != nil {
		return err
	}
	s.URL = "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ready, err := s.ControlPlane.ReadyAt(s.URL + "/readyz")
	if err != nil {
		return err
	}
	s.Server, err = s.ControlPlane.AddProcess(ctx, controlplane.ProcessSpec{
		Name: deployment.ServerName, Path: filepath.Join(s.layout.Repo, o.Server),
		Args: append(deployment.ServerArgs(s.layout, port), o.ServerArgs...), Ready: ready,
	})
	if err != nil {
		return err
	}
	admin, err := s.ControlPlane.AdminConfig()
	if err != nil {
		return err
	}
	return deployment.AwaitAPIService(ctx, admin)
}

// Stop ends every process of the system. It returns an error if the server
// reported a data race, which it does if it was built to look for them.
func (s *System) Stop() error {
	err := s.ControlPlane.Stop()
	log, readErr := os.ReadFile(s.Server.LogFile())
	if bytes.Contains(log, []byte("WARNING: DATA RACE")) {
		err = errors.Join(err, fmt.Errorf("data race, see %s", s.Server.LogFile()))
	}
	return errors.Join(err, readErr)
}
