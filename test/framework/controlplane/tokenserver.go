// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"
)

const (
	// authenticationFile is kube-apiserver's AuthenticationConfiguration. It is
	// also the record of where the issuer is.
	authenticationFile = "authentication.yaml"

	tokenServingName = "token-issuer"
	discoveryPath    = "/.well-known/openid-configuration"
	keysPath         = "/keys"
)

// startTokenIssuer serves, from this process, what kube-apiserver wants to know
// of the issuer of tokens, and writes the configuration that names it. That is
// before kube-apiserver starts: it asks at its start, and again only 10 s later.
func (cp *ControlPlane) startTokenIssuer() error {
	listener, err := listenForTokens(cp.config.Dir, cp.config.APIServerPort)
	if err != nil {
		return err
	}
	cp.tokens, err = loadTokenAuthority(cp.pki.dir, "https://"+listener.Addr().String())
	if err == nil {
		err = writeAuthentication(cp.config.Dir, cp.tokens.url, cp.pki.cluster.pem)
	}
	var server *tokenServer
	if err == nil {
		server, err = serveTokenIssuer(listener, cp.tokens, cp.pki.cert(tokenServingName), cp.pki.key(tokenServingName))
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	cp.supervisor.addServer(server)
	return nil
}

// listenForTokens takes the port that the issuer had in an earlier life of dir,
// so that tokens of then are still valid, or another if that is in use. It
// leaves kube-apiserver's alone.
func listenForTokens(dir string, apiServerPort int) (net.Listener, error) {
	port, err := earlierTokenPort(dir)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		if port != 0 && port != apiServerPort {
			listener, err := net.Listen("tcp4", net.JoinHostPort(loopbackHost, strconv.Itoa(port)))
			if err == nil {
				return listener, nil
			}
			if try >= portTries {
				return nil, fmt.Errorf("listen for issuer of tokens: %w", err)
			}
		}
		if port, err = FreePort(); err != nil {
			return nil, err
		}
	}
}

// earlierTokenPort returns 0 if there was none.
func earlierTokenPort(dir string) (int, error) {
	issuer, err := readTokenIssuer(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	parsed, err := url.Parse(issuer)
	if err != nil {
		return 0, fmt.Errorf("parse URL of issuer: %w", err)
	}
	port, err := strconv.Atoi(parsed.Port())
	if err != nil {
		return 0, fmt.Errorf("parse port of issuer %s: %w", issuer, err)
	}
	return port, nil
}

// writeAuthentication writes the AuthenticationConfiguration. It says nothing of
// anonymous requests, which are as the flags have them.
func writeAuthentication(dir, issuer string, ca []byte) error {
	data, err := yaml.Marshal(apiserverv1.AuthenticationConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "AuthenticationConfiguration"},
		JWT: []apiserverv1.JWTAuthenticator{{
			Issuer: apiserverv1.Issuer{URL: issuer, CertificateAuthority: string(ca), Audiences: []string{tokenAudience}},
			ClaimMappings: apiserverv1.ClaimMappings{
				Username: apiserverv1.PrefixedClaimOrExpression{Claim: "preferred_username", Prefix: new("")},
				Groups:   apiserverv1.PrefixedClaimOrExpression{Claim: "groups", Prefix: new("")},
			},
			// Names have no prefix, so the issuer must not speak for the system's.
			UserValidationRules: []apiserverv1.UserValidationRule{
				{Expression: "user.username != ''", Message: "the user has no name"},
				{Expression: "!user.username.startsWith('system:')", Message: "the name of a user must not begin with system:"},
				{Expression: "user.groups.all(group, !group.startsWith('system:'))", Message: "the name of a group must not begin with system:"},
			},
		}},
	})
	if err != nil {
		return fmt.Errorf("encode authentication configuration: %w", err)
	}
	return writeFile(filepath.Join(dir, authenticationFile), data)
}

// readTokenIssuer returns the issuer's URL from the AuthenticationConfiguration.
func readTokenIssuer(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, authenticationFile))
	if err != nil {
		return "", fmt.Errorf("read authentication configuration: %w", err)
	}
	var config apiserverv1.AuthenticationConfiguration
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return "", fmt.Errorf("parse authentication configuration: %w", err)
	}
	if len(config.JWT) != 1 {
		return "", fmt.Errorf("parse authentication configuration: %d issuers", len(config.JWT))
	}
	return config.JWT[0].Issuer.URL, nil
}

// tokenServer is an OpenID Connect issuer as far as one is needed to verify
// tokens. Nobody logs in to it: who has the key signs.
type tokenServer struct {
	server *http.Server
	// served has the error with which the server ended, once.
	served chan error
}

// serveTokenIssuer serves on the listener until Close.
func serveTokenIssuer(listener net.Listener, tokens *tokenAuthority, certFile, keyFile string) (*tokenServer, error) {
	handler, err := newTokenHandler(tokens)
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate of issuer: %w", err)
	}
	s := &tokenServer{
		server: &http.Server{
			Handler:           handler,
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: 10 * time.Second,
		},
		served: make(chan error, 1),
	}
	go func() { s.served <- s.server.ServeTLS(listener, "", "") }()
	return s, nil
}

// Close ends the server and gives its port free. It is called once.
func (s *tokenServer) Close() error {
	err := s.server.Close()
	if ended := <-s.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(fmt.Errorf("serve issuer of tokens: %w", ended), err)
	}
	return err
}

// newTokenHandler serves the discovery document and the public key.
func newTokenHandler(tokens *tokenAuthority) (http.Handler, error) {
	mux := http.NewServeMux()
	for path, document := range map[string]any{
		discoveryPath: map[string]any{
			"issuer":                                tokens.url,
			"jwks_uri":                              tokens.url + keysPath,
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{tokenAlgorithm},
		},
		keysPath: map[string][]jsonWebKey{"keys": {tokens.publicKey}},
	} {
		data, err := json.Marshal(document)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", path, err)
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(data) //nolint:errcheck // the client is gone
		})
	}
	return mux, nil
}
