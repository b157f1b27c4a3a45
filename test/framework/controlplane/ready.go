// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// requestTimeout is for one request that asks whether a process is ready.
const requestTimeout = 2 * time.Second

// ReadyAt returns a readiness function for ProcessSpec: it asks the URL, of a
// server on this host whose certificate the issuer signed, and wants a 200.
func (i *Issuer) ReadyAt(url string) (func(context.Context) error, error) {
	config, err := clientTLS(i.ca, "", "")
	if err != nil {
		return nil, err
	}
	return httpReady(config, url), nil
}

// httpReady asks a URL until it answers 200.
func httpReady(config *tls.Config, url string) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		// A transport a question: none keeps a connection to a server that has
		// been restarted since.
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		client := &http.Client{Transport: transport, Timeout: requestTimeout}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		response, err := client.Do(request)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		defer func() { err = errors.Join(err, response.Body.Close()) }()
		if response.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 256))
			return fmt.Errorf("ask %s: %s: %s", url, response.Status, body)
		}
		return nil
	}
}

// clientTLS trusts ca and shows the certificate in the files, if any.
func clientTLS(ca *authority, certFile, keyFile string) (*tls.Config, error) {
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// clusterClient is a client of this package's own, with short requests.
func clusterClient(i *Issuer) (*rest.Config, error) {
	config, err := i.AdminConfig()
	if err != nil {
		return nil, err
	}
	config.Timeout = requestTimeout
	return config, nil
}
