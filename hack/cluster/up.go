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
	controlPlaneOnly bool
	// server is the path of tenancy-apiserver, controller that of
	// tenancy-controller, or noController.
	server, controller string
	artifacts          string
	serverArgs         []string
	controllerArgs     []string
}

// noController in the place of a path leaves the controller out.
const noController = "none"

func (o *upOptions) withController() bool { return o.controller != noController }

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
	flags.BoolVar(&o.controlPlaneOnly, "control-plane-only", false, "leave out artifacts, tenancy-apiserver and tenancy-controller")
	flags.StringVar(&o.server, "tenancy-apiserver", "", "path of the binary (default bin/tenancy-apiserver of the repository)")
	flags.StringVar(&o.controller, "tenancy-controller", "", "path of the binary (default bin/tenancy-controller of the repository), or "+noController+" to leave it, its webhooks and its kinds out")
	flags.StringVar(&o.artifacts, "artifacts", "", "directory with base and overlays (default artifacts of the repository)")
	flags.StringArrayVar(&o.serverArgs, "server-arg", nil, "further argument of tenancy-apiserver, such as --v=4; may be repeated")
	flags.StringArrayVar(&o.controllerArgs, "controller-arg", nil, "further argument of tenancy-controller; may be repeated")
	return cmd
}

func (o *upOptions) complete(l deployment.Layout) error {
	if o.apiServerPort < 0 || o.apiServerPort > 65535 {
		return fmt.Errorf("--apiserver-port %d is not a port", o.apiServerPort)
	}
	for path, byDefault := range map[*string]string{
		&o.server:     filepath.Join(l.Repo, "bin", deployment.ServerName),
		&o.controller: filepath.Join(l.Repo, "bin", deployment.ControllerName),
		&o.artifacts:  filepath.Join(l.Repo, "artifacts"),
	} {
		if path == &o.controller && !o.withController() {
			continue
		}
		if *path == "" {
			*path = byDefault
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", *path, err)
		}
		*path = absolute
	}
	if o.controlPlaneOnly {
		return nil
	}
	binaries := []struct{ name, path string }{{deployment.ServerName, o.server}, {deployment.ControllerName, o.controller}}
	if !o.withController() {
		binaries = binaries[:1]
	}
	for _, binary := range binaries {
		if info, err := os.Stat(binary.path); err != nil || info.IsDir() {
			return fmt.Errorf("find %s: there is no %s: run make build", binary.name, binary.path)
		}
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
	if !o.controlPlaneOnly {
		if err := deploy(ctx, l, o, issuer, st.Processes, out); err != nil {
			return err
		}
	}
	summary(l, st, o, out)
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

func summary(l deployment.Layout, st status, o upOptions, out printer) {
	kubectl := "kubectl"
	if path, err := controlplane.FindBinary("", "kubectl"); err == nil {
		kubectl = path
	}
	resource := "namespaces"
	if !o.controlPlaneOnly {
		resource = "tenancy"
	}
	out.printf(`
The control plane is up at %s

  admin  %s
  alice  %s
  bob    %s
  dev    %s
  logs   %s

Try:            %s --kubeconfig %s get %s
Another user:   hack/kubeconfig.sh [--oidc] NAME [GROUP...]
Stop:           make down
`, st.URL, short(l.Kubeconfig(deployment.AdminName)), short(l.Kubeconfig("alice")), short(l.Kubeconfig("bob")),
		short(l.Kubeconfig(deployment.DevName)), short(l.Logs()), short(kubectl), short(l.Kubeconfig("alice")), resource)
}

// short is the path relative to the working directory where it is below it.
func short(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}

func supervisorLog(l deployment.Layout) string { return filepath.Join(l.Logs(), "supervisor.log") }
