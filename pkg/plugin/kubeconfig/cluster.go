// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Options are the flags of the command. Errors name them.
type Options struct {
	// Server is the URL of the proxy.
	Server string
	// AllowHTTP lets it be one without TLS.
	AllowHTTP bool
	// CAFile is a file of the certificate authority of the proxy, or empty for those
	// that the system trusts.
	CAFile string
	// TLSServerName is the name in the proxy's certificate, if it is not that in Server.
	TLSServerName string
	// Insecure has nobody look at the proxy's certificate.
	Insecure bool
	// ContextName is the name of what is made, or empty for one that says of what.
	ContextName string

	// Context, User and Namespace are what is taken from the kubeconfig: those that are
	// current if they are empty.
	Context, User, Namespace string
}

// exampleServer is one that a user may have.
const exampleServer = "https://tenancy-proxy.example.com:9001"

// cluster returns the proxy as a cluster. Warnings are for the user to read.
func (o *Options) cluster() (cluster *clientcmdapi.Cluster, warnings []string, err error) {
	cluster = clientcmdapi.NewCluster()
	server, err := o.server()
	if err != nil {
		return nil, nil, err
	}
	cluster.Server = server.String()
	switch {
	case server.Scheme == "http":
		if o.CAFile != "" || o.Insecure || o.TLSServerName != "" {
			return nil, nil, errors.New("--server is without TLS: leave out --certificate-authority, --insecure-skip-tls-verify and --tls-server-name, or give a URL that begins with https")
		}
		return cluster, []string{"by plain HTTP kubectl sends no credential; what other programs send, everybody on the way can read and use"}, nil
	case o.Insecure && o.CAFile != "":
		return nil, nil, errors.New("--insecure-skip-tls-verify and --certificate-authority exclude each other: leave out --insecure-skip-tls-verify")
	case o.Insecure:
		cluster.InsecureSkipTLSVerify = true
		warnings = append(warnings, "nobody will look at the proxy's certificate: who can answer in its place has what is sent to it, tokens included")
	case o.CAFile != "":
		if cluster.CertificateAuthorityData, err = readCA(o.CAFile); err != nil {
			return nil, nil, fmt.Errorf("--certificate-authority %s: %w", o.CAFile, err)
		}
	}
	cluster.TLSServerName = o.TLSServerName
	return cluster, warnings, nil
}

// server returns the URL of the proxy. It may hold a password by mistake, so that no
// error repeats it.
func (o *Options) server() (*url.URL, error) {
	if o.Server == "" {
		return nil, errors.New("--server is missing: give the URL of the proxy, such as " + exampleServer)
	}
	server, err := url.Parse(o.Server)
	switch {
	case err != nil || server.Host == "":
		return nil, errors.New("--server is not a URL: give one such as " + exampleServer)
	case server.User != nil:
		return nil, errors.New("--server has a user or a password: leave them out, the credential is the kubeconfig's")
	case server.RawQuery != "" || server.Fragment != "":
		return nil, errors.New("--server has a query or a fragment: leave it out")
	case server.Scheme == "http" && !o.AllowHTTP:
		return nil, errors.New("--server is without TLS, so that everybody on the way can read and use what is sent: give a URL that begins with https, or --allow-http if you mean it")
	case server.Scheme != "https" && server.Scheme != "http":
		return nil, fmt.Errorf("--server has the scheme %q: give a URL that begins with https", server.Scheme)
	}
	return server, nil
}

// readCA returns the certificates in a file, and nothing else: it goes into a file that
// is handed around.
func readCA(file string) ([]byte, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the user's own choice
	if err != nil {
		return nil, fmt.Errorf("read file: %w", errors.Unwrap(err))
	}
	var certificates bytes.Buffer
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s, which does not belong into a kubeconfig: give a file of certificates alone", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		if err := pem.Encode(&certificates, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, fmt.Errorf("encode certificate: %w", err)
		}
	}
	if certificates.Len() == 0 {
		return nil, errors.New("it holds no certificate in PEM: give the certificate of the authority that signed the proxy's, which begins with -----BEGIN CERTIFICATE-----")
	}
	return certificates.Bytes(), nil
}
