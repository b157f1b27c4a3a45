// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	clusterName = "capsule-tenancy"
	adminUser   = "kubernetes-admin"
	adminGroup  = "system:masters"

	// TokenLifetime is that of the tokens in configurations.
	TokenLifetime = 24 * time.Hour
)

// Issuer signs certificates in the name of a control plane's cluster CA, and
// tokens in that of its OpenID Connect issuer, and wraps them as configurations
// for clients. It is safe for concurrent use.
type Issuer struct {
	server string
	ca     *authority
	tokens *tokenAuthority
}

// OpenIssuer returns the issuer of the control plane in dir, which another
// process may be running. The error is ErrNotRunning if nobody runs it.
func OpenIssuer(dir string) (*Issuer, error) {
	st, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if !st.sameBoot() || !st.Supervisor.alive() || st.Server == "" {
		return nil, fmt.Errorf("open control plane in %s: %w", dir, ErrNotRunning)
	}
	pkiDir := filepath.Join(dir, pkiName)
	ca, err := loadAuthority(pkiDir, "ca")
	if err != nil {
		return nil, err
	}
	url, err := readTokenIssuer(dir)
	if err != nil {
		return nil, err
	}
	tokens, err := loadTokenAuthority(pkiDir, url)
	if err != nil {
		return nil, err
	}
	return &Issuer{server: st.Server, ca: ca, tokens: tokens}, nil
}

// Server returns the URL of kube-apiserver.
func (i *Issuer) Server() string { return i.server }

// CACert returns the PEM of the CA that signed kube-apiserver's certificate and
// whatever this issuer signs. Callers must not modify it.
func (i *Issuer) CACert() []byte { return i.ca.pem }

// ServingCert signs a serving certificate, valid for a year. The first DNS name
// is its common name.
func (i *Issuer) ServingCert(dnsNames []string, ips []net.IP) (certPEM, keyPEM []byte, err error) {
	if len(dnsNames) == 0 {
		return nil, nil, errors.New("sign serving certificate: no DNS name given")
	}
	return i.ca.serving(dnsNames[0], dnsNames, ips)
}

// RESTConfig returns the configuration of a client that is user in groups, by a
// client certificate that is valid for a year. It does not limit its own rate.
func (i *Issuer) RESTConfig(user string, groups ...string) (*rest.Config, error) {
	if user == "" {
		return nil, errors.New("sign client certificate: the user has no name")
	}
	certPEM, keyPEM, err := i.ca.client(user, groups)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            i.server,
		QPS:             -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: i.ca.pem, CertData: certPEM, KeyData: keyPEM},
	}, nil
}

// TokenConfig is RESTConfig by a token, which is valid for TokenLifetime.
func (i *Issuer) TokenConfig(user string, groups ...string) (*rest.Config, error) {
	token, err := i.Token(user, groups, TokenLifetime)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            i.server,
		QPS:             -1,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: i.ca.pem},
	}, nil
}

// AdminConfig is RESTConfig for a member of system:masters.
func (i *Issuer) AdminConfig() (*rest.Config, error) { return i.RESTConfig(adminUser, adminGroup) }

// Kubeconfig is RESTConfig as a self-contained kubeconfig file.
func (i *Issuer) Kubeconfig(user string, groups ...string) ([]byte, error) {
	config, err := i.RESTConfig(user, groups...)
	if err != nil {
		return nil, err
	}
	return encodeKubeconfig(user, config)
}

// TokenKubeconfig is TokenConfig as a self-contained kubeconfig file.
func (i *Issuer) TokenKubeconfig(user string, groups ...string) ([]byte, error) {
	config, err := i.TokenConfig(user, groups...)
	if err != nil {
		return nil, err
	}
	return encodeKubeconfig(user, config)
}

// AdminKubeconfig is Kubeconfig for a member of system:masters.
func (i *Issuer) AdminKubeconfig() ([]byte, error) { return i.Kubeconfig(adminUser, adminGroup) }

func encodeKubeconfig(user string, config *rest.Config) ([]byte, error) {
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[clusterName] = &clientcmdapi.Cluster{
		Server:                   config.Host,
		CertificateAuthorityData: config.CAData,
	}
	kubeconfig.AuthInfos[user] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
		Token:                 config.BearerToken,
	}
	context := user + "@" + clusterName
	kubeconfig.Contexts[context] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: user}
	kubeconfig.CurrentContext = context
	data, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig of %q: %w", user, err)
	}
	return data, nil
}
