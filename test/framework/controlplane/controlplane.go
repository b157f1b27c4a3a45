// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ControlPlane is a running control plane. It issues certificates and tokens as
// its embedded Issuer. All methods are safe for concurrent use.
type ControlPlane struct {
	*Issuer

	config     Config
	supervisor *supervisor
	pki        *pki
	tokens     *tokenAuthority
	etcdURL    string

	etcd, apiServer, controllerManager *Process
}

// Start starts a control plane in config.Dir and returns when it is ready: the
// API server serves, the namespace "default" is there, and the controllers work.
// Processes that an earlier supervisor left in the directory are ended first.
// If a live one holds it, the error is ErrAlreadyRunning. After an error nothing
// runs. The end of ctx ends the start, not the control plane.
func Start(ctx context.Context, config Config) (*ControlPlane, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	paths := map[string]string{etcdName: "", apiServerName: "", controllerManagerName: ""}
	for name := range paths {
		if paths[name], err = FindBinary(config.BinDir, name); err != nil {
			return nil, err
		}
	}
	s, err := newSupervisor(ctx, config.Dir, config.LogDir, config.OnExit)
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{config: config, supervisor: s}
	if err := cp.start(ctx, paths); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context, paths map[string]string) error {
	var err error
	if cp.pki, err = loadOrCreatePKI(filepath.Join(cp.config.Dir, pkiName)); err != nil {
		return err
	}
	if err := cp.startTokenIssuer(); err != nil {
		return err
	}
	if err := cp.startEtcd(ctx, paths[etcdName]); err != nil {
		return err
	}
	if err := cp.startAPIServer(ctx, paths[apiServerName]); err != nil {
		return err
	}
	return cp.startControllerManager(ctx, paths[controllerManagerName])
}

// startOnFreePorts starts the process that spec describes for n free ports, and
// again on others if somebody took one meanwhile.
func (cp *ControlPlane) startOnFreePorts(ctx context.Context, n int, spec func(ports []int) (ProcessSpec, error)) (*Process, error) {
	for try := 1; ; try++ {
		ports, err := freePorts(n)
		if err != nil {
			return nil, err
		}
		described, err := spec(ports)
		if err != nil {
			return nil, err
		}
		process, err := cp.AddProcess(ctx, described)
		if err == nil || try == portTries || !errors.Is(err, errPortTaken) {
			return process, err
		}
	}
}

// AddProcess starts a further process under the same supervision, and returns
// when it is ready. Stop ends it before those that were started earlier. After
// an error the process does not run and its name is free again.
func (cp *ControlPlane) AddProcess(ctx context.Context, spec ProcessSpec) (*Process, error) {
	if spec.Name == "" || strings.ContainsRune(spec.Name, filepath.Separator) {
		return nil, fmt.Errorf("add process: %q is not a name", spec.Name)
	}
	if spec.StartTimeout <= 0 {
		spec.StartTimeout = cp.config.StartTimeout
	}
	process := newProcess(cp.supervisor, spec)
	if err := cp.supervisor.add(process); err != nil {
		return nil, err
	}
	if err := process.Start(ctx); err != nil {
		cp.supervisor.remove(process)
		return nil, err
	}
	return process, nil
}

// RemoveProcess stops a process that AddProcess started and gives its name free.
// The process cannot be started any more.
func (cp *ControlPlane) RemoveProcess(process *Process) error {
	cp.supervisor.remove(process)
	return process.Stop()
}

// Stop ends all processes, the last to start first, and the issuer of tokens,
// and leaves the data. It is idempotent.
func (cp *ControlPlane) Stop() error { return cp.supervisor.close() }

// Etcd is the process of etcd. Like the others it is there for tests to kill and
// restart; it keeps its port and its data.
func (cp *ControlPlane) Etcd() *Process { return cp.etcd }

// APIServer is the process of kube-apiserver. It keeps its port on a restart.
func (cp *ControlPlane) APIServer() *Process { return cp.apiServer }

// ControllerManager is the process of kube-controller-manager.
func (cp *ControlPlane) ControllerManager() *Process { return cp.controllerManager }

// AuditLog is the path of kube-apiserver's audit log: an event a line, JSON.
func (cp *ControlPlane) AuditLog() string {
	return filepath.Join(cp.config.LogDir, "kube-apiserver-audit.log")
}

// FrontProxyFiles returns the paths of the certificate and key that
// kube-apiserver's aggregator shows to aggregated servers, and of the CA that
// they trust. Who holds them can name any user in request headers.
func (cp *ControlPlane) FrontProxyFiles() (cert, key, ca string) {
	return cp.pki.cert(frontProxyUser), cp.pki.key(frontProxyUser), cp.pki.frontProxy.file
}

// EtcdEndpoint returns the client URL of etcd; EtcdTLS is needed to use it.
func (cp *ControlPlane) EtcdEndpoint() string { return cp.etcdURL }

// EtcdTLS returns the configuration of a client that etcd accepts.
func (cp *ControlPlane) EtcdTLS() (*tls.Config, error) {
	return clientTLS(cp.pki.etcd, cp.pki.cert("etcd-client"), cp.pki.key("etcd-client"))
}

// Terminate ends the supervisor that holds dir, in whichever process, by SIGTERM
// and after grace by SIGKILL, and then what it may have left. It does nothing if
// there is none. It cannot be used on the caller's own process.
func Terminate(ctx context.Context, dir string, grace time.Duration) error {
	st, err := readState(dir)
	if err != nil || !st.sameBoot() {
		return err
	}
	if st.Supervisor.PID == os.Getpid() {
		return errors.New("terminate control plane: it is this process's own")
	}
	if err := st.Supervisor.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if st.Supervisor.awaitEnd(ctx, grace) != nil {
		if err := st.Supervisor.kill(ctx); err != nil {
			return err
		}
	}
	return killStale(ctx, dir)
}

// Destroy removes dir with all data of a control plane that does not run any
// more, after it has ended what is left of it. The error is ErrAlreadyRunning if
// somebody runs it.
func Destroy(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the file is gone by then
	if err := killStale(ctx, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove control plane: %w", err)
	}
	return nil
}
