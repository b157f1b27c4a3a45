// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package framework runs the whole system for tests: a control plane with
// tenancy-apiserver, and tenancy-controller if a test wants it, registered in it. One
// system is shared by all tests of a package; each test keeps to objects of its own.
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
	"sync"

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
	// Controller is the path of tenancy-controller, relative to the repository. Without
	// it there is no controller, none of its webhooks, and no kinds of
	// capsule.clastix.io.
	Controller string
	// ControllerArgs come after the arguments of the deployment.
	ControllerArgs []string
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
	// Controller is tenancy-controller, whose webhooks the API server calls; nil if
	// there is none.
	Controller *Controller

	layout     deployment.Layout
	kubectl    *deployment.Kubectl
	server     string
	controller string
	// serverPort is that of Server.
	serverPort int

	lock sync.Mutex
	// logs are those of all servers and controllers, closers are to be closed; lock
	// protects both.
	logs    []string
	closers []io.Closer
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
	s := &System{
		ControlPlane: cp, layout: layout, kubectl: kubectl,
		server: filepath.Join(layout.Repo, o.Server), controller: filepath.Join(layout.Repo, o.Controller),
	}
	if err := s.deploy(ctx, o); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *System) deploy(ctx context.Context, o Options) error {
	var err error
	if s.serverPort, err = controlplane.FreePort(); err != nil {
		return err
	}
	if err := errors.Join(
		deployment.EnsureKubeconfigs(s.layout, s.ControlPlane.Issuer),
		deployment.EnsureServingCert(s.layout, s.ControlPlane.Issuer),
	); err != nil {
		return err
	}
	if o.Controller == "" {
		err = s.apply(ctx, 0)
	} else {
		err = s.deployController(ctx, o.ControllerArgs)
	}
	if err != nil {
		return err
	}
	if s.Server, s.URL, err = s.startServer(ctx, deployment.ServerName, s.serverPort, o.ServerArgs); err != nil {
		return err
	}
	admin, err := s.ControlPlane.AdminConfig()
	if err != nil {
		return err
	}
	return deployment.AwaitAPIService(ctx, admin)
}

// apply applies the manifests. webhookPort is 0 without a controller.
func (s *System) apply(ctx context.Context, webhookPort int) error {
	return s.kubectl.ApplyHost(ctx, filepath.Join(s.layout.Repo, "artifacts"), deployment.Host{
		CA: s.ControlPlane.CACert(), ServerPort: s.serverPort, WebhookPort: webhookPort,
	}, io.Discard)
}

// AddServer starts a further tenancy-apiserver and returns when it is ready, and
// where it serves. The API server does not know of it. The arguments come after
// those of the deployment.
func (s *System) AddServer(ctx context.Context, name string, args ...string) (server *controlplane.Process, url string, err error) {
	port, err := controlplane.FreePort()
	if err != nil {
		return nil, "", err
	}
	args = append([]string{"--audit-log-path=" + filepath.Join(s.layout.Logs(), name+"-audit.log")}, args...)
	return s.startServer(ctx, name, port, args)
}

func (s *System) startServer(ctx context.Context, name string, port int, args []string) (server *controlplane.Process, url string, err error) {
	url = "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ready, err := s.ControlPlane.ReadyAt(url + "/readyz")
	if err != nil {
		return nil, "", err
	}
	certs := ""
	if s.Controller != nil {
		certs = s.layout.ControllerCerts(s.Controller.Name())
	}
	server, err = s.addProcess(ctx, controlplane.ProcessSpec{
		Name: name, Path: s.server, Args: append(deployment.ServerArgs(s.layout, port, certs), args...), Ready: ready,
	})
	return server, url, err
}

// addProcess starts a server or a controller, whose log is read in the end.
func (s *System) addProcess(ctx context.Context, spec controlplane.ProcessSpec) (*controlplane.Process, error) {
	process, err := s.ControlPlane.AddProcess(ctx, spec)
	if err != nil {
		return nil, err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.logs = append(s.logs, process.LogFile())
	return process, nil
}

// Stop ends every process of the system. It returns an error if a server or a
// controller reported a data race, which it does if it was built to look for them.
func (s *System) Stop() error {
	errs := []error{s.ControlPlane.Stop()}
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, closer := range s.closers {
		errs = append(errs, closer.Close())
	}
	for _, file := range s.logs {
		log, err := os.ReadFile(file)
		if bytes.Contains(log, []byte("WARNING: DATA RACE")) {
			err = errors.Join(err, fmt.Errorf("data race, see %s", file))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
