// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Command cluster is behind `make up` and `make down`: a control plane on this
// machine with tenancy-apiserver registered in it, which outlives the terminal
// that started it.
//
//	cluster up               start what does not run, apply artifacts/, wait
//	cluster kubeconfig carol write a kubeconfig for any user
//	cluster down             end everything, remove the data, keep the logs
//
// A detached process (the hidden command "run") supervises the children; up
// talks to it through a socket. All state is in .run/.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"tenancy.capsule.io/test/framework/controlplane"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func newCommand() *cobra.Command {
	var runDir string
	var l layout
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A control plane on this machine with tenancy-apiserver registered in it",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			l, err = newLayout(runDir)
			return err
		},
	}
	root.PersistentFlags().StringVar(&runDir, "run-dir", "", "directory of all state (default .run of the repository)")
	root.AddCommand(newUpCommand(&l), newDownCommand(&l), newKubeconfigCommand(&l), newRunCommand(&l))
	return root
}

// printer writes what a command has to say.
type printer struct{ io.Writer }

func (p printer) printf(format string, args ...any) {
	fmt.Fprintf(p, format, args...) //nolint:errcheck // nobody is left to be told
}

// layout says where everything is. All paths are absolute.
type layout struct {
	// repo is the repository, run holds the state.
	repo, run string
}

func newLayout(runDir string) (layout, error) {
	repo, err := controlplane.RepoRoot()
	if err != nil {
		return layout{}, err
	}
	if runDir == "" {
		runDir = filepath.Join(repo, ".run")
	}
	if runDir, err = filepath.Abs(runDir); err != nil {
		return layout{}, fmt.Errorf("resolve --run-dir: %w", err)
	}
	return layout{repo: repo, run: runDir}, nil
}

func (l layout) controlPlane() string { return filepath.Join(l.run, "controlplane") }
func (l layout) logs() string         { return filepath.Join(l.run, "logs") }
func (l layout) lock() string         { return filepath.Join(l.run, "lock") }
func (l layout) kubeconfigs() string  { return filepath.Join(l.run, "kubeconfig") }
func (l layout) rendered() string     { return filepath.Join(l.run, "artifacts") }
func (l layout) kubectlCache() string { return filepath.Join(l.run, "kubectl-cache") }
func (l layout) servingCert() string  { return filepath.Join(l.run, "serving", "tls.crt") }
func (l layout) servingKey() string   { return filepath.Join(l.run, "serving", "tls.key") }
func (l layout) supervisorLog() string {
	return filepath.Join(l.logs(), "supervisor.log")
}

func (l layout) kubeconfig(name string) string {
	return filepath.Join(l.kubeconfigs(), name+kubeconfigSuffix)
}

// create makes the directories that every command writes to.
func (l layout) create() error {
	for _, dir := range []string{l.run, l.logs(), l.kubeconfigs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create directory: %w", err)
		}
	}
	return nil
}
