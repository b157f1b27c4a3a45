// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	// clockSkew is how far certificates reach into the past: a control plane
	// that survives a correction of the clock should not refuse its own.
	clockSkew    = 5 * time.Minute
	leafValidity = 365 * 24 * time.Hour
)

// authority is a certificate authority. It is immutable after its creation.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	file string
}

// loadOrCreateAuthority reads name.crt and name.key in dir, or makes them.
func loadOrCreateAuthority(dir, name, commonName string) (*authority, error) {
	a, err := loadAuthority(dir, name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{
		CommonName: commonName,
		NotBefore:  time.Now().Add(-clockSkew),
	}, key)
	if err != nil {
		return nil, fmt.Errorf("create certificate authority %s: %w", name, err)
	}
	if err := writeKeyPair(dir, name, encodeCert(cert.Raw), key); err != nil {
		return nil, err
	}
	return loadAuthority(dir, name)
}

func loadAuthority(dir, name string) (*authority, error) {
	file := filepath.Join(dir, name+".crt")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	certs, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	key, err := loadKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	return &authority{cert: certs[0], key: key, pem: data, file: file}, nil
}

// client signs a client certificate for a user and its groups.
func (a *authority) client(user string, groups []string) (certPEM, keyPEM []byte, err error) {
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// serving signs a serving certificate; usages beyond serverAuth are added.
func (a *authority) serving(commonName string, dns []string, ips []net.IP, usages ...x509.ExtKeyUsage) (certPEM, keyPEM []byte, err error) {
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		DNSNames:    dns,
		IPAddresses: ips,
		ExtKeyUsage: append([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, usages...),
	})
}

// sign completes the template, signs it and returns it with a new key.
func (a *authority) sign(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("draw serial number: %w", err)
	}
	now := time.Now()
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = now.Add(leafValidity)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate of %q: %w", template.Subject.CommonName, err)
	}
	keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key of %q: %w", template.Subject.CommonName, err)
	}
	return encodeCert(der), keyPEM, nil
}

// newKey makes a P-256 key: as good as RSA here, and made in no time.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func loadKey(file string) (crypto.Signer, error) {
	key, err := keyutil.PrivateKeyFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read key: %s holds a %T, which cannot sign", file, key)
	}
	return signer, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})
}

// writeKeyPair writes name.key, then name.crt, so that a certificate is never
// found without its key.
func writeKeyPair(dir, name string, certPEM []byte, key crypto.Signer) error {
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	return writePair(dir, name, certPEM, keyPEM)
}

func writePair(dir, name string, certPEM, keyPEM []byte) error {
	if err := writeFile(filepath.Join(dir, name+".key"), keyPEM); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, name+".crt"), certPEM)
}

// writeFile replaces a file atomically, readable by its owner only.
func writeFile(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".tmp*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(tmp.Name()))
	}
	return nil
}
