// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// healthPaths may be asked without credentials, by kubelets above all.
var healthPaths = []string{"/healthz", "/livez", "/readyz"}

// noAnonymous rejects, with 401, requests that bring no credential to the server
// itself, but for health. An anonymous user whom the API server passes on came
// with the API server's own certificate and stays what it is: the API server let
// it pass.
//
// genericoptions.DelegatingAuthenticationOptions has a field Anonymous and
// ignores it, see ApplyTo in k8s.io/apiserver.
func noAnonymous(delegate authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := delegate.AuthenticateRequest(req)
		if !ok || err != nil || response.User.GetName() != user.Anonymous {
			return response, ok, err
		}
		if certified := req.TLS != nil && len(req.TLS.PeerCertificates) > 0; certified || isHealthPath(req.URL.Path) {
			return response, ok, err
		}
		return nil, false, nil
	})
}

func isHealthPath(path string) bool {
	for _, health := range healthPaths {
		if path == health || strings.HasPrefix(path, health+"/") {
			return true
		}
	}
	return false
}
