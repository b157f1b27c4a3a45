// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

func (cp *ControlPlane) startEtcd(ctx context.Context, path string) error {
	tlsConfig, err := cp.EtcdTLS()
	if err != nil {
		return err
	}
	cp.etcd, err = cp.startOnFreePorts(ctx, 2, func(ports []int) (ProcessSpec, error) {
		client, peer := loopbackURL(ports[0]), loopbackURL(ports[1])
		cp.etcdURL = client
		cert, key, ca := cp.pki.cert(etcdName), cp.pki.key(etcdName), cp.pki.etcd.file
		return ProcessSpec{
			Name: etcdName,
			Path: path,
			Args: append([]string{
				"--name=tenancy",
				"--data-dir=" + filepath.Join(cp.config.Dir, "etcd"),
				"--listen-client-urls=" + client,
				"--advertise-client-urls=" + client,
				"--listen-peer-urls=" + peer,
				"--initial-advertise-peer-urls=" + peer,
				"--initial-cluster=tenancy=" + peer,
				"--cert-file=" + cert, "--key-file=" + key, "--trusted-ca-file=" + ca, "--client-cert-auth",
				"--peer-cert-file=" + cert, "--peer-key-file=" + key, "--peer-trusted-ca-file=" + ca,
				"--peer-client-cert-auth",
				// The data need not survive the machine, only the process.
				"--unsafe-no-fsync",
				"--log-level=warn",
			}, cp.config.ExtraEtcdArgs...),
			Env:   etcdEnv(),
			Ready: httpReady(tlsConfig, client+"/readyz"),
		}, nil
	})
	return err
}

// etcdEnv is the environment without what etcd would take for its flags.
func etcdEnv() []string {
	env := []string{}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "ETCD_") {
			env = append(env, entry)
		}
	}
	return env
}
