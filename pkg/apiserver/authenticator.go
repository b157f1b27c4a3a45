// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
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

// requestHeaderGuard watches over who may speak for users. The cluster's
// configuration of that may change while the server runs.
type requestHeaderGuard struct {
	config   *authenticatorfactory.RequestHeaderConfig
	allowAny bool
}

var (
	errNoRequestHeader = errors.New("no request-header authentication: the API server could not pass users on; " +
		"see the ConfigMap kube-system/extension-apiserver-authentication or set --requestheader-client-ca-file")
	errAnyRequestHeaderName = errors.New("requestheader-allowed-names is empty: every certificate of the request-header CA could speak for every user; " +
		"set --requestheader-allowed-names on kube-apiserver, or --allow-any-requestheader-name here if that CA signs nothing else")
)

// check returns an error while the configuration is not safe: any certificate of
// the front proxy's CA, often the cluster's own, could speak for any user.
func (g requestHeaderGuard) check() error {
	if g.config == nil {
		return errNoRequestHeader
	}
	if len(g.config.AllowedClientNames.Value()) == 0 && !g.allowAny {
		return errAnyRequestHeaderName
	}
	return nil
}

// errNoRequestHeaderCA is the state of the first moments: the names of the headers
// are read before the server starts, the CA by a watch that starts with it.
var errNoRequestHeaderCA = errors.New("the request-header CA has not been read yet: a user whom the API server passes on could not be told from nobody")

// ready returns an error while nobody can speak for users, or anybody could.
func (g requestHeaderGuard) ready() error {
	if err := g.check(); err != nil {
		return err
	}
	if ca := g.config.CAContentProvider; ca != nil && len(ca.CurrentCABundleContent()) == 0 {
		return errNoRequestHeaderCA
	}
	return nil
}

// awaitCA answers 503 until the CA has been read. What the API server passes on
// would be the request of an anonymous user, and be refused for ever as far as the
// client can tell.
func (g requestHeaderGuard) awaitCA(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := g.ready(); errors.Is(err, errNoRequestHeaderCA) && !isHealthPath(req.URL.Path) {
			unavailable := apierrors.NewServiceUnavailable(err.Error())
			unavailable.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
			responsewriters.ErrorNegotiated(unavailable, Codecs, schema.GroupVersion{}, w, req)
			return
		}
		handler.ServeHTTP(w, req)
	})
}

// protect rejects requests that speak for a user while the configuration is not safe.
func (g requestHeaderGuard) protect(delegate authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if err := g.check(); err != nil && g.speaksForUser(req) {
			return nil, false, err
		}
		return delegate.AuthenticateRequest(req)
	})
}

func (g requestHeaderGuard) speaksForUser(req *http.Request) bool {
	if g.config == nil {
		return false
	}
	for _, header := range g.config.UsernameHeaders.Value() {
		if req.Header.Get(header) != "" {
			return true
		}
	}
	return false
}
