// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// ServerName is the name of the server, of its kubeconfig and of its logs.
	ServerName = "tenancy-apiserver"

	// localhost is the address of all servers.
	localhost = "127.0.0.1"
	// serviceName is the name that kube-apiserver verifies the certificate for.
	serviceName = "tenancy-apiserver.tenancy-system.svc"
	// renewBefore is how much longer a certificate must be valid to be kept.
	renewBefore = 30 * 24 * time.Hour
)

// ServerArgs returns the arguments of tenancy-apiserver on a port of this host,
// with an identity that has the rights of artifacts/ and no other. certs is the
// directory of the certificate that the controller makes for it; empty if there is no
// controller.
func ServerArgs(l Layout, port int, certs string) []string {
	identity := l.Kubeconfig(ServerName)
	args := []string{
		"--kubeconfig=" + identity,
		"--authentication-kubeconfig=" + identity,
		"--authorization-kubeconfig=" + identity,
		"--bind-address=" + localhost,
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + l.ServingCert(),
		"--tls-private-key-file=" + l.ServingKey(),
		// Without a policy nothing is logged.
		"--audit-policy-file=" + filepath.Join(l.ControlPlane(), controlplane.AuditPolicyFile),
		"--audit-log-path=" + filepath.Join(l.Logs(), ServerName+"-audit.log"),
		"--v=2",
	}
	if certs != "" {
		// For the API server, who asks by the name of the Service; the certificate
		// above is for who asks by address.
		args = append(args, fmt.Sprintf("--tls-sni-cert-key=%s,%s:%s",
			filepath.Join(certs, corev1.TLSCertKey), filepath.Join(certs, corev1.TLSPrivateKeyKey), serviceName))
	}
	return args
}

// EnsureServingCert makes a certificate unless there is a valid one.
func EnsureServingCert(l Layout, issuer *controlplane.Issuer) error {
	if servingCertValid(l, issuer) {
		return nil
	}
	cert, key, err := issuer.ServingCert([]string{serviceName, "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.ServingCert()), 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	if err := errors.Join(os.WriteFile(l.ServingKey(), key, 0o600), os.WriteFile(l.ServingCert(), cert, 0o600)); err != nil {
		return fmt.Errorf("write serving certificate: %w", err)
	}
	return nil
}

func servingCertValid(l Layout, issuer *controlplane.Issuer) bool {
	pair, err := tls.LoadX509KeyPair(l.ServingCert(), l.ServingKey())
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(issuer.CACert())
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		DNSName: serviceName, Roots: roots, CurrentTime: time.Now().Add(renewBefore),
	})
	return err == nil
}
