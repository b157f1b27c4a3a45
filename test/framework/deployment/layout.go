// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"fmt"
	"os"
	"path/filepath"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// KubeconfigSuffix ends the names of kubeconfigs.
	KubeconfigSuffix = ".kubeconfig"
	// ProxySuffix comes before it where the server is the proxy.
	ProxySuffix = "-proxy"
)

// Layout says where everything is. All paths are absolute.
type Layout struct {
	// Repo is the repository, Run holds the state.
	Repo, Run string
}

// NewLayout returns the Layout of a directory of state, .run of the repository if empty.
func NewLayout(runDir string) (Layout, error) {
	repo, err := controlplane.RepoRoot()
	if err != nil {
		return Layout{}, err
	}
	if runDir == "" {
		runDir = filepath.Join(repo, ".run")
	}
	if runDir, err = filepath.Abs(runDir); err != nil {
		return Layout{}, fmt.Errorf("resolve directory of state: %w", err)
	}
	return Layout{Repo: repo, Run: runDir}, nil
}

// ControlPlane is the directory of the control plane.
func (l Layout) ControlPlane() string { return filepath.Join(l.Run, "controlplane") }

// Logs is the directory of all logs.
func (l Layout) Logs() string { return filepath.Join(l.Run, "logs") }

// Lock is the file that commands lock.
func (l Layout) Lock() string { return filepath.Join(l.Run, "lock") }

// Kubeconfigs is the directory of kubeconfigs.
func (l Layout) Kubeconfigs() string { return filepath.Join(l.Run, "kubeconfig") }

// Rendered is the directory of the generated kustomization.
func (l Layout) Rendered() string { return filepath.Join(l.Run, "artifacts") }

// KubectlCache is the discovery cache of kubectl.
func (l Layout) KubectlCache() string { return filepath.Join(l.Run, "kubectl-cache") }

// ServingCert is the file of the serving certificate.
func (l Layout) ServingCert() string { return filepath.Join(l.Run, "serving", "tls.crt") }

// ServingKey is the file of its key.
func (l Layout) ServingKey() string { return filepath.Join(l.Run, "serving", "tls.key") }

// ControllerCerts is the directory to which a controller of that name writes its
// certificate.
func (l Layout) ControllerCerts(name string) string { return filepath.Join(l.Run, "serving", name) }

// Kubeconfig is the file of a kubeconfig.
func (l Layout) Kubeconfig(name string) string {
	return filepath.Join(l.Kubeconfigs(), name+KubeconfigSuffix)
}

// ProxyKubeconfig is the file of a kubeconfig whose server is the proxy.
func (l Layout) ProxyKubeconfig(name string) string { return l.Kubeconfig(name + ProxySuffix) }

// Create makes the directories that every command writes to.
func (l Layout) Create() error {
	for _, dir := range []string{l.Run, l.Logs(), l.Kubeconfigs()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create directory: %w", err)
		}
	}
	return nil
}
