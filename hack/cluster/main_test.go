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
// tenancy-apiserver and tenancy-proxy: the environment says that it is not the test,
// the arguments which of them.
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

// serveStandIn serves what the arguments are of.
func serveStandIn(args []string) error {
	flags := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		flags[name] = value
	}
	if _, ok := flags["--listening-port"]; ok {
		return serveProxy(flags)
	}
	return serveServer(flags)
}

func exist(flags map[string]string, names ...string) error {
	for _, name := range names {
		if _, err := os.Stat(flags[name]); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

// serveServer does as much as the aggregator wants to see: it is ready, it has
// a discovery document, and asks for the front proxy's certificate.
func serveServer(flags map[string]string) error {
	if err := exist(flags, "--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"); err != nil {
		return err
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
	return serveTLS(mux, flags["--bind-address"]+":"+flags["--secure-port"], flags["--tls-cert-file"], flags["--tls-private-key-file"])
}

// serveProxy is ready, and tells a caller by which credential it was asked: as the name
// of the only namespace.
func serveProxy(flags map[string]string) error {
	if err := exist(flags, "--kubeconfig"); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api/v1/namespaces", func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		} else if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			name = "token"
		}
		w.Header().Set("Content-Type", "application/json")
		printer{w}.printf(`{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":%q}}]}`, name)
	})
	failed := make(chan error, 1)
	go func() {
		failed <- http.ListenAndServe(flags["--health-probe-bind-address"], mux) //nolint:gosec // nobody attacks it
	}()
	go func() {
		failed <- serveTLS(mux, flags["--bind-address"]+":"+flags["--listening-port"], flags["--ssl-cert-path"], flags["--ssl-key-path"])
	}()
	return <-failed
}

func serveTLS(handler http.Handler, address, cert, key string) error {
	server := &http.Server{ //nolint:gosec // nobody attacks it
		Addr:      address,
		Handler:   handler,
		TLSConfig: &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
	fmt.Println("serving on", server.Addr)
	return errors.Join(errors.New("stand-in ended"), server.ListenAndServeTLS(cert, key))
}
