// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"tenancy.capsule.io/test/framework/deployment"
)

// The test binary is also the command, as the supervisor, and a stand-in for
// tenancy-apiserver: the environment says that it is not the test, the
// arguments which of the two.
const helperEnv = "CLUSTER_TEST_HELPER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(helperEnv) == "":
		os.Exit(m.Run())
	case len(os.Args) > 1 && os.Args[1] == "--run-dir":
		os.Exit(run())
	default:
		fmt.Fprintln(os.Stderr, serveStandIn(os.Args[1:]))
		os.Exit(1)
	}
}

// serveStandIn does as much as the aggregator wants to see: it is ready, it has
// a discovery document, and asks for the front proxy's certificate.
func serveStandIn(args []string) error {
	flags := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		flags[name] = value
	}
	for _, name := range []string{"--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"} {
		if _, err := os.Stat(flags[name]); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /apis/"+deployment.GroupVersion, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "front-proxy-client" {
			http.Error(w, "not the front proxy", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		printer{w}.printf(`{"kind":"APIResourceList","apiVersion":"v1","deployment.GroupVersion":%q,"resources":[
			{"name":"tenantnamespaces","singularName":"tenantnamespace","kind":"TenantNamespace","namespaced":false,"verbs":["get"]}]}`,
			deployment.GroupVersion)
	})
	server := &http.Server{ //nolint:gosec // nobody attacks it
		Addr:      flags["--bind-address"] + ":" + flags["--secure-port"],
		Handler:   mux,
		TLSConfig: &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
	fmt.Println("serving on", server.Addr)
	return errors.Join(errors.New("stand-in ended"), server.ListenAndServeTLS(flags["--tls-cert-file"], flags["--tls-private-key-file"]))
}
