// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/keyutil"
)

// firstServiceIP is the first address of serviceCIDR: the one of the Service
// "kubernetes".
const (
	serviceCIDR    = "10.96.0.0/16"
	firstServiceIP = "10.96.0.1"

	frontProxyUser = "front-proxy-client"

	// pkiName is the directory's name in Config.Dir.
	pkiName = "pki"
)

// pki is every key and certificate of a control plane, in files in dir.
type pki struct {
	dir string

	// cluster signs clients and servers; frontProxy signs who may hand on a
	// user in headers; etcd signs who may reach the data below all
	// authorization, so that no user's certificate opens it.
	cluster, frontProxy, etcd *authority
}

// loadOrCreatePKI keeps authorities and the keys of tokens over restarts, and
// issues all else anew, so that nothing of it expires unseen.
func loadOrCreatePKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create pki directory: %w", err)
	}
	p := &pki{dir: dir}
	var err error
	for _, ca := range []struct {
		target           **authority
		name, commonName string
	}{
		{&p.cluster, "ca", "kubernetes-ca"},
		{&p.frontProxy, "front-proxy-ca", "front-proxy-ca"},
		{&p.etcd, "etcd-ca", "etcd-ca"},
	} {
		if *ca.target, err = loadOrCreateAuthority(dir, ca.name, ca.commonName); err != nil {
			return nil, err
		}
	}
	if err := p.ensureServiceAccountKeys(); err != nil {
		return nil, err
	}
	if err := p.ensureTokenKey(); err != nil {
		return nil, err
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	kubernetes := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local",
	}
	for name, issue := range map[string]func() ([]byte, []byte, error){
		"apiserver": func() ([]byte, []byte, error) {
			return p.cluster.serving(apiServerName, kubernetes, append(loopback, net.ParseIP(firstServiceIP)))
		},
		"controller-manager-serving": func() ([]byte, []byte, error) {
			return p.cluster.serving(controllerManagerName, []string{"localhost"}, loopback)
		},
		tokenServingName: func() ([]byte, []byte, error) {
			return p.cluster.serving(tokenServingName, []string{"localhost"}, loopback)
		},
		"front-proxy-client": func() ([]byte, []byte, error) { return p.frontProxy.client(frontProxyUser, nil) },
		"etcd-client":        func() ([]byte, []byte, error) { return p.etcd.client("etcd-client", nil) },
		// etcd dials its own listener, hence both usages in one certificate.
		"etcd": func() ([]byte, []byte, error) {
			return p.etcd.serving(etcdName, []string{"localhost"}, loopback, x509.ExtKeyUsageClientAuth)
		},
	} {
		certPEM, keyPEM, err := issue()
		if err != nil {
			return nil, err
		}
		if err := writePair(dir, name, certPEM, keyPEM); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// ensureServiceAccountKeys makes sa.key and sa.pub unless they are there.
func (p *pki) ensureServiceAccountKeys() error {
	key, err := loadKey(p.key("sa"))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newKey()
	}
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode service account key: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := writeKeyPair(p.dir, "sa", public, key); err != nil {
		return err
	}
	return os.Rename(p.cert("sa"), p.serviceAccountPublicKey())
}

// ensureTokenKey makes the key of the OpenID Connect issuer unless it is there.
func (p *pki) ensureTokenKey() error {
	file := p.key(tokenKeyName)
	if _, err := loadKey(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encode key of tokens: %w", err)
	}
	return writeFile(file, keyPEM)
}

func (p *pki) cert(name string) string         { return filepath.Join(p.dir, name+".crt") }
func (p *pki) key(name string) string          { return filepath.Join(p.dir, name+".key") }
func (p *pki) serviceAccountPublicKey() string { return filepath.Join(p.dir, "sa.pub") }
