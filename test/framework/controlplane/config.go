// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	etcdName              = "etcd"
	apiServerName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"

	assetsEnv          = "KUBEBUILDER_ASSETS"
	modulePath         = "tenancy.capsule.io"
	defaultStartWithin = 60 * time.Second
)

// Config says what to start. Only Dir is required.
type Config struct {
	// Dir holds everything that belongs to this control plane. It is created
	// with access for its owner only.
	Dir string
	// LogDir holds one log file per process and the audit log. Defaults to
	// Dir/logs.
	LogDir string
	// BinDir holds the binaries. Defaults to $KUBEBUILDER_ASSETS, and for what
	// is missing there (it usually lacks kube-controller-manager) and when it
	// is not set, to bin/k8s of the repository.
	BinDir string

	// APIServerPort is the port of kube-apiserver on 127.0.0.1; 0 takes a free
	// one.
	APIServerPort int

	// ExtraEtcdArgs, ExtraAPIServerArgs and ExtraControllerManagerArgs come
	// after the arguments that this package sets, so that they override them
	// where a flag is given twice. Flags that take lists add up instead.
	ExtraEtcdArgs              []string
	ExtraAPIServerArgs         []string
	ExtraControllerManagerArgs []string

	// StartTimeout is how long each process may take until it is ready.
	// Defaults to a minute.
	StartTimeout time.Duration

	// OnExit, if set, is called when a process that was ready ends without
	// having been asked to. It is called on a goroutine of its own and may
	// restart the process.
	OnExit func(p *Process, err error)
}

// complete validates c and returns it with the defaults filled in and all
// paths absolute.
func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("controlplane: Config.Dir is required")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("resolve Config.Dir: %w", err)
	}
	c.Dir = dir
	if c.LogDir == "" {
		c.LogDir = filepath.Join(c.Dir, "logs")
	}
	if c.LogDir, err = filepath.Abs(c.LogDir); err != nil {
		return c, fmt.Errorf("resolve Config.LogDir: %w", err)
	}
	if c.APIServerPort < 0 || c.APIServerPort > 65535 {
		return c, fmt.Errorf("controlplane: Config.APIServerPort %d is not a port", c.APIServerPort)
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = defaultStartWithin
	}
	return c, nil
}

// FindBinary returns the absolute path of a binary of the control plane, which
// is looked for as Config.BinDir says, or an error that names the remedy.
func FindBinary(binDir, name string) (string, error) {
	var dirs []string
	if binDir != "" {
		dirs = append(dirs, binDir)
	} else {
		if assets := os.Getenv(assetsEnv); assets != "" {
			dirs = append(dirs, assets)
		}
		if root, err := RepoRoot(); err == nil {
			dirs = append(dirs, filepath.Join(root, "bin", "k8s"))
		}
	}
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("resolve %s: %w", name, err)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: it is not in %q: run make controlplane", name, dirs)
}

// RepoRoot returns the directory of this module's go.mod, searched from the
// working directory upwards: the tests run in their package's directory, and
// commands anywhere in the repository.
func RepoRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && isModule(string(data), modulePath) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find repository: no go.mod of %s in %s or above", modulePath, wd)
		}
	}
}

// isModule reports whether gomod declares the module path.
func isModule(gomod, path string) bool {
	for line := range strings.Lines(gomod) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "module" {
			return fields[1] == path
		}
	}
	return false
}
