// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// portTries is how often a port is tried that somebody else may take.
const portTries = 3

// deployer applies the manifests and has the supervisor run our processes.
type deployer struct {
	l       deployment.Layout
	o       upOptions
	issuer  *controlplane.Issuer
	kubectl *deployment.Kubectl
	out     printer
	// server, controller and proxy are the ports of the processes, which they keep.
	server     int
	controller deployment.ControllerPorts
	proxy      deployment.ProxyPorts
}

// deploy returns when requests to the views are answered, and where the proxy serves.
// present are the processes as they run already.
func deploy(ctx context.Context, l deployment.Layout, o upOptions, issuer *controlplane.Issuer, present map[string]processSpec, out printer) (proxy string, err error) {
	kubectl, err := deployment.NewKubectl(l)
	if err != nil {
		return "", err
	}
	if err := deployment.EnsureServingCert(l, issuer); err != nil {
		return "", err
	}
	d := &deployer{
		l: l, o: o, issuer: issuer, kubectl: kubectl, out: out,
		server:     present[deployment.ServerName].Ports.Server,
		controller: present[deployment.ControllerName].Ports.Controller,
		proxy:      present[deployment.ProxyName].Ports.Proxy,
	}
	if err := d.choosePorts(); err != nil {
		return "", err
	}
	// Before the processes: they need their rights to start.
	if err := d.apply(ctx); err != nil {
		return "", err
	}
	if err := d.startAll(ctx); err != nil {
		return "", err
	}
	out.printf("Waiting for the APIService %s\n", deployment.APIServiceName)
	admin, err := issuer.AdminConfig()
	if err != nil {
		return "", err
	}
	if err := deployment.AwaitAPIService(ctx, admin); err != nil {
		return "", fmt.Errorf("%w\nThe logs are in %s", err, l.Logs())
	}
	base := filepath.Join(o.artifacts, "base")
	out.printf("Trying %s, for use in a cluster, by a dry run\n", short(base))
	if err := kubectl.DryRun(ctx, base); err != nil {
		return "", err
	}
	if !o.withProxy() {
		return "", nil
	}
	return proxyURL(d.proxy), deployment.EnsureProxyKubeconfigs(l, issuer, proxyURL(d.proxy))
}

// startAll has all processes run.
func (d *deployer) startAll(ctx context.Context) error {
	// The controller first: it makes tenancy-apiserver's certificate.
	if d.o.withController() {
		if err := d.start(ctx, deployment.ControllerName, d.controllerSpec, func() { d.controller = deployment.ControllerPorts{} }); err != nil {
			return err
		}
	}
	if err := d.start(ctx, deployment.ServerName, d.serverSpec, func() { d.server = 0 }); err != nil {
		return err
	}
	if !d.o.withProxy() {
		return nil
	}
	return d.start(ctx, deployment.ProxyName, d.proxySpec, func() { d.proxy = deployment.ProxyPorts{} })
}

// choosePorts chooses those that are not chosen yet.
func (d *deployer) choosePorts() (err error) {
	if d.server == 0 {
		if d.server, err = controlplane.FreePort(); err != nil {
			return err
		}
	}
	if d.o.withController() && d.controller == (deployment.ControllerPorts{}) {
		if d.controller, err = deployment.FreeControllerPorts(); err != nil {
			return err
		}
	}
	if d.o.withProxy() {
		return d.chooseProxyPorts()
	}
	return nil
}

func (d *deployer) apply(ctx context.Context) error {
	d.out.printf("Applying %s\n", short(d.o.artifacts))
	return d.kubectl.ApplyHost(ctx, d.o.artifacts, deployment.Host{
		CA: d.issuer.CACert(), ServerPort: d.server, WebhookPort: d.controller.Webhooks,
	}, d.out)
}

// start has a process run, with other ports if somebody took one between its choice
// and its use.
func (d *deployer) start(ctx context.Context, name string, specOf func() (*processSpec, error), forgetPorts func()) error {
	for try := 1; ; try++ {
		spec, err := specOf()
		if err != nil {
			return err
		}
		var result processResult
		err = call(ctx, d.l, "PUT", processPath, spec, &result)
		if err == nil {
			verb := map[bool]string{true: "was started", false: "is running, unchanged"}[result.Started]
			d.out.printf("%s %s\n", name, verb)
			return nil
		}
		if try == portTries || !strings.Contains(err.Error(), "address already in use") {
			return fmt.Errorf("start %s: %w", name, err)
		}
		forgetPorts()
		if err := errors.Join(d.choosePorts(), d.apply(ctx)); err != nil {
			return err
		}
	}
}

func (d *deployer) serverSpec() (*processSpec, error) {
	digest, err := digestOf(d.o.server)
	certs := ""
	if d.o.withController() {
		certs = d.l.ControllerCerts(deployment.ControllerName)
	}
	return &processSpec{
		Name:     deployment.ServerName,
		Path:     d.o.server,
		Args:     append(deployment.ServerArgs(d.l, d.server, certs), d.o.serverArgs...),
		Digest:   digest,
		ReadyURL: "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(d.server)) + "/readyz",
		Ports:    ports{Server: d.server},
	}, err
}

func (d *deployer) controllerSpec() (*processSpec, error) {
	digest, err := digestOf(d.o.controller)
	return &processSpec{
		Name:     deployment.ControllerName,
		Path:     d.o.controller,
		Args:     append(deployment.ControllerArgs(d.l, deployment.ControllerName, d.controller), d.o.controllerArgs...),
		Digest:   digest,
		ReadyURL: d.controller.ReadyURL(),
		Ports:    ports{Controller: d.controller},
	}, err
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
