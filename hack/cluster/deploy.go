// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// serviceName is the name that kube-apiserver verifies the certificate for.
	serviceName = "tenancy-apiserver.tenancy-system.svc"
	// renewBefore is how much longer a certificate must be valid to be kept.
	renewBefore = 30 * 24 * time.Hour
	serverTries = 3
)

// deploy applies the manifests and has the supervisor run tenancy-apiserver.
// present is the server as it runs already, or nil.
func deploy(ctx context.Context, l layout, o upOptions, issuer *controlplane.Issuer, present *serverSpec, out printer) error {
	k, err := newKubectl(l)
	if err != nil {
		return err
	}
	if err := ensureServingCert(l, issuer); err != nil {
		return err
	}
	digest, err := digestOf(o.binary)
	if err != nil {
		return err
	}
	port := 0
	if present != nil {
		port = present.Port
	}
	for try := 1; ; try++ {
		if port == 0 {
			if port, err = controlplane.FreePort(); err != nil {
				return err
			}
		}
		// Before the server: it needs its rights to start.
		out.printf("Applying %s\n", short(o.artifacts))
		if err := k.applyHost(ctx, o.artifacts, issuer.CACert(), port, out); err != nil {
			return err
		}
		spec := newServerSpec(l, o, port, digest)
		var result serverResult
		err := call(ctx, l, "PUT", serverPath, spec, &result)
		if err == nil {
			verb := map[bool]string{true: "was started", false: "is running, unchanged"}[result.Started]
			out.printf("%s %s\n", serverName, verb)
			break
		}
		// Somebody took the port between its choice and its use.
		if try == serverTries || !strings.Contains(err.Error(), "address already in use") {
			return fmt.Errorf("start %s: %w", serverName, err)
		}
		port = 0
	}
	out.printf("Waiting for the APIService %s\n", apiServiceName)
	if err := awaitAPIService(ctx, issuer); err != nil {
		return fmt.Errorf("%w\nThe server's log is %s", err, filepath.Join(l.logs(), serverName+".log"))
	}
	out.printf("Trying %s, for use in a cluster, by a dry run\n", short(filepath.Join(o.artifacts, "base")))
	return k.dryRunBase(ctx, o.artifacts)
}

func newServerSpec(l layout, o upOptions, port int, digest string) serverSpec {
	identity := l.kubeconfig(serverName)
	args := []string{
		"--kubeconfig=" + identity,
		"--authentication-kubeconfig=" + identity,
		"--authorization-kubeconfig=" + identity,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + l.servingCert(),
		"--tls-private-key-file=" + l.servingKey(),
		// Without a policy nothing is logged.
		"--audit-policy-file=" + filepath.Join(l.controlPlane(), controlplane.AuditPolicyFile),
		"--audit-log-path=" + filepath.Join(l.logs(), serverName+"-audit.log"),
		"--v=2",
	}
	return serverSpec{
		Path:   o.binary,
		Args:   append(args, o.serverArgs...),
		Digest: digest,
		URL:    "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Port:   port,
	}
}

// ensureServingCert makes a certificate unless there is a valid one.
func ensureServingCert(l layout, issuer *controlplane.Issuer) error {
	if servingCertValid(l, issuer) {
		return nil
	}
	cert, key, err := issuer.ServingCert([]string{serviceName, "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.servingCert()), 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	if err := errors.Join(os.WriteFile(l.servingKey(), key, 0o600), os.WriteFile(l.servingCert(), cert, 0o600)); err != nil {
		return fmt.Errorf("write serving certificate: %w", err)
	}
	return nil
}

func servingCertValid(l layout, issuer *controlplane.Issuer) bool {
	pair, err := tls.LoadX509KeyPair(l.servingCert(), l.servingKey())
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

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", serverName, err)
	}
	defer file.Close() //nolint:errcheck // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read %s: %w", serverName, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
