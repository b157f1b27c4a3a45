// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// readyWithin is for etcd, kube-apiserver and the controllers together.
const readyWithin = 3 * time.Minute

type upOptions struct {
	apiServerPort    int
	proxyPort        int
	controlPlaneOnly bool
	// server is the path of tenancy-apiserver. controller and proxy are those of
	// tenancy-controller and tenancy-proxy, or leftOut.
	server, controller, proxy             string
	artifacts                             string
	serverArgs, controllerArgs, proxyArgs []string
}

// leftOut in the place of a path leaves a process out.
const leftOut = "none"

func (o *upOptions) withController() bool { return o.controller != leftOut }

func (o *upOptions) withProxy() bool { return o.proxy != leftOut }

func newUpCommand(l *deployment.Layout) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start what does not run, apply artifacts/, wait until the API is served",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(*l); err != nil {
				return err
			}
			return up(cmd.Context(), *l, o, printer{cmd.OutOrStdout()})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.apiServerPort, "apiserver-port", 0, "port of kube-apiserver on 127.0.0.1 (default a free one)")
	flags.IntVar(&o.proxyPort, "proxy-port", 0, fmt.Sprintf("port of tenancy-proxy on 127.0.0.1 (default the one it has, %d, or a free one if that is taken)", usualProxyPort))
	flags.BoolVar(&o.controlPlaneOnly, "control-plane-only", false, "leave out artifacts and all processes of ours")
	flags.StringVar(&o.server, "tenancy-apiserver", "", "path of the binary (default bin/tenancy-apiserver of the repository)")
	flags.StringVar(&o.controller, "tenancy-controller", "", "path of the binary (default bin/tenancy-controller of the repository), or "+leftOut+" to leave it, its webhooks and its kinds out")
	flags.StringVar(&o.proxy, "tenancy-proxy", "", "path of the binary (default bin/tenancy-proxy of the repository), or "+leftOut+" to leave it out")
	flags.StringVar(&o.artifacts, "artifacts", "", "directory with base and overlays (default artifacts of the repository)")
	flags.StringArrayVar(&o.serverArgs, "server-arg", nil, "further argument of tenancy-apiserver, such as --v=4; may be repeated")
	flags.StringArrayVar(&o.controllerArgs, "controller-arg", nil, "further argument of tenancy-controller; may be repeated")
	flags.StringArrayVar(&o.proxyArgs, "proxy-arg", nil, "further argument of tenancy-proxy; may be repeated")
	return cmd
}

func (o *upOptions) complete(l deployment.Layout) error {
	for flag, port := range map[string]int{"--apiserver-port": o.apiServerPort, "--proxy-port": o.proxyPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("%s %d is not a port", flag, port)
		}
	}
	var err error
	if o.artifacts, err = filepath.Abs(cmp.Or(o.artifacts, filepath.Join(l.Repo, "artifacts"))); err != nil {
		return fmt.Errorf("resolve %s: %w", o.artifacts, err)
	}
	for _, binary := range []struct {
		name string
		path *string
	}{{deployment.ServerName, &o.server}, {deployment.ControllerName, &o.controller}, {deployment.ProxyName, &o.proxy}} {
		if o.controlPlaneOnly || *binary.path == leftOut && binary.name != deployment.ServerName {
			continue
		}
		path, err := filepath.Abs(cmp.Or(*binary.path, filepath.Join(l.Repo, "bin", binary.name)))
		if err != nil {
			return fmt.Errorf("resolve %s: %w", *binary.path, err)
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return fmt.Errorf("find %s: there is no %s: run make build", binary.name, path)
		}
		*binary.path = path
	}
	return nil
}

func up(ctx context.Context, l deployment.Layout, o upOptions, out printer) error {
	if err := l.Create(); err != nil {
		return err
	}
	unlock, err := lock(ctx, l.Lock(), out)
	if err != nil {
		return err
	}
	defer unlock.Close() //nolint:errcheck // nothing was written
	st, err := ensureControlPlane(ctx, l, o.apiServerPort, out)
	if err != nil {
		return err
	}
	issuer, err := controlplane.OpenIssuer(l.ControlPlane())
	if err != nil {
		return err
	}
	if err := deployment.EnsureKubeconfigs(l, issuer); err != nil {
		return err
	}
	proxy := ""
	if !o.controlPlaneOnly {
		if proxy, err = deploy(ctx, l, o, issuer, st.Processes, out); err != nil {
			return err
		}
	}
	summary(l, st, o, proxy, out)
	return nil
}

// ensureControlPlane returns the status of the control plane, once it is ready.
func ensureControlPlane(ctx context.Context, l deployment.Layout, port int, out printer) (status, error) {
	var st status
	err := call(ctx, l, "GET", statusPath, nil, &st)
	switch {
	case errors.Is(err, errNoSupervisor):
		out.printf("Starting etcd, kube-apiserver and kube-controller-manager\n")
		return startSupervisor(ctx, l, port)
	case err != nil:
		return st, err
	case !st.Ready:
		out.printf("Waiting for the control plane, which is starting\n")
		if st, err = awaitControlPlane(ctx, l, nil); err != nil {
			return st, err
		}
	default:
		out.printf("The control plane is running\n")
	}
	return st, checkServerPort(st, port)
}

// checkServerPort returns an error if another port than the present one is
// asked for.
func checkServerPort(st status, port int) error {
	if port == 0 {
		return nil
	}
	server, err := url.Parse(st.URL)
	if err != nil {
		return fmt.Errorf("parse server URL: %w", err)
	}
	if server.Port() != strconv.Itoa(port) {
		return fmt.Errorf("the control plane runs on port %s, not %d: run make down first", server.Port(), port)
	}
	return nil
}

// startSupervisor starts "run" as a process that does not depend on this one,
// nor on its terminal.
func startSupervisor(ctx context.Context, l deployment.Layout, port int) (status, error) {
	self, err := os.Executable()
	if err != nil {
		return status{}, fmt.Errorf("find own executable: %w", err)
	}
	log, err := os.Create(supervisorLog(l))
	if err != nil {
		return status{}, fmt.Errorf("create log: %w", err)
	}
	defer log.Close() //nolint:errcheck // the child has its own handle
	// Not CommandContext: the child outlives this process.
	cmd := exec.Command(self, "--run-dir", l.Run, "run", "--apiserver-port", strconv.Itoa(port))
	cmd.Dir = l.Repo
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return status{}, fmt.Errorf("start supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	st, err := awaitControlPlane(ctx, l, ended)
	if err != nil {
		if text, readErr := os.ReadFile(supervisorLog(l)); readErr == nil && len(text) > 0 {
			err = fmt.Errorf("%w\n%s:\n%s", err, supervisorLog(l), text)
		}
		return st, err
	}
	return st, nil
}

// awaitControlPlane polls until the control plane is ready or its supervisor
// has ended; ended may be nil.
func awaitControlPlane(ctx context.Context, l deployment.Layout, ended <-chan error) (status, error) {
	var st status
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, readyWithin, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-ended:
			return false, fmt.Errorf("supervisor ended: %w", cmp.Or(err, errors.New("exit status 0")))
		default:
		}
		err := call(ctx, l, "GET", statusPath, nil, &st)
		if errors.Is(err, errNoSupervisor) && ended != nil {
			return false, nil
		}
		return st.Ready, err
	})
	if err != nil {
		return st, fmt.Errorf("await control plane: %w", err)
	}
	return st, nil
}

func supervisorLog(l deployment.Layout) string { return filepath.Join(l.Logs(), "supervisor.log") }
