// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// serverTries is how often a port is tried that somebody else may take.
const serverTries = 3

// deploy applies the manifests and has the supervisor run tenancy-apiserver.
// present is the server as it runs already, or nil.
func deploy(ctx context.Context, l deployment.Layout, o upOptions, issuer *controlplane.Issuer, present *serverSpec, out printer) error {
	k, err := deployment.NewKubectl(l)
	if err != nil {
		return err
	}
	if err := deployment.EnsureServingCert(l, issuer); err != nil {
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
		if err := k.ApplyHost(ctx, o.artifacts, issuer.CACert(), port, out); err != nil {
			return err
		}
		spec := newServerSpec(l, o, port, digest)
		var result serverResult
		err := call(ctx, l, "PUT", serverPath, spec, &result)
		if err == nil {
			verb := map[bool]string{true: "was started", false: "is running, unchanged"}[result.Started]
			out.printf("%s %s\n", deployment.ServerName, verb)
			break
		}
		// Somebody took the port between its choice and its use.
		if try == serverTries || !strings.Contains(err.Error(), "address already in use") {
			return fmt.Errorf("start %s: %w", deployment.ServerName, err)
		}
		port = 0
	}
	out.printf("Waiting for the APIService %s\n", deployment.APIServiceName)
	admin, err := issuer.AdminConfig()
	if err != nil {
		return err
	}
	if err := deployment.AwaitAPIService(ctx, admin); err != nil {
		return fmt.Errorf("%w\nThe server's log is %s", err, filepath.Join(l.Logs(), deployment.ServerName+".log"))
	}
	out.printf("Trying %s, for use in a cluster, by a dry run\n", short(filepath.Join(o.artifacts, "base")))
	return k.DryRunBase(ctx, o.artifacts)
}

func newServerSpec(l deployment.Layout, o upOptions, port int, digest string) serverSpec {
	return serverSpec{
		Path:   o.binary,
		Args:   append(deployment.ServerArgs(l, port), o.serverArgs...),
		Digest: digest,
		URL:    "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Port:   port,
	}
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", deployment.ServerName, err)
	}
	defer file.Close() //nolint:errcheck // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read %s: %w", deployment.ServerName, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
