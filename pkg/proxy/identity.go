// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	clienttransport "k8s.io/client-go/transport"
	"k8s.io/klog/v2"
)

// AuthType is a way by which a caller says who he is.
type AuthType string

// The ways that there are.
const (
	// BearerToken is a token in a header, which goes upstream as it is.
	BearerToken AuthType = "BearerToken"
	// TLSCertificate is a client certificate. It ends at the proxy, which asks in the
	// name of its subject.
	TLSCertificate AuthType = "TLSCertificate"
)

// Certificates says who may come with a client certificate, and what comes of it.
type Certificates struct {
	// Authenticator finds the user in the certificate of a request.
	Authenticator authenticator.Request
	// Authorizer says whom a user may impersonate who asks for that.
	Authorizer authorizer.UnconditionalAuthorizer
	// AllowSystem lets users and groups of the control plane come, too: the proxy asks
	// for them with a right that is close to theirs.
	AllowSystem bool
}

// systemPrefix begins the names that Kubernetes keeps for itself.
const systemPrefix = "system:"

// bearerProtocol begins the WebSocket subprotocol by which browsers send a token, see
// k8s.io/apiserver/pkg/authentication/request/websocket.
const bearerProtocol = "base64url.bearer.authorization.k8s.io." //nolint:gosec // no token

// hasToken reports whether a request comes with a token, or with anything else that the
// API server is to judge.
func hasToken(req *http.Request) bool {
	if req.Header.Get("Authorization") != "" {
		return true
	}
	for _, protocols := range req.Header.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(protocols, ",") {
			if strings.HasPrefix(strings.TrimSpace(protocol), bearerProtocol) {
				return true
			}
		}
	}
	return false
}

// identify serves a request by the first credential of the preferred types that it comes
// with. One without a credential goes upstream as it is.
func (p *Proxy) identify(w http.ResponseWriter, req *http.Request) {
	p.groups.apply(req.Header)
	for _, kind := range p.authTypes {
		switch {
		case kind == BearerToken && hasToken(req):
			p.serveToken(w, req)
			return
		case kind == TLSCertificate && p.certificates != nil && req.TLS != nil && len(req.TLS.PeerCertificates) > 0:
			p.serveCertificate(w, req)
			return
		}
	}
	p.serve(w, req)
}

// serveToken serves a request with a token, which the API server is to judge.
func (p *Proxy) serveToken(w http.ResponseWriter, req *http.Request) {
	if p.rejected.refuses(req) {
		writeError(w, req, errRejected)
		return
	}
	p.serve(onStatus(w, func(code int) { p.rejected.answered(req, code) }), req)
}

// serveCertificate serves a request in the name of its certificate's subject.
func (p *Proxy) serveCertificate(w http.ResponseWriter, req *http.Request) {
	logger := klog.FromContext(req.Context())
	resp, ok, err := p.certificates.Authenticator.AuthenticateRequest(req)
	if err != nil || !ok {
		logger.V(2).Info("A client certificate is not accepted", "err", err)
		writeError(w, req, apierrors.NewUnauthorized("the client certificate is not accepted"))
		return
	}
	if name := systemName(resp.User); name != "" && !p.certificates.AllowSystem {
		logger.V(2).Info("A client certificate of the control plane is not accepted", "name", name)
		writeError(w, req, forbid(fmt.Sprintf("client certificates of %q are not accepted here: ask the API server itself", name)))
		return
	}
	// Which certificate it was is nothing to impersonate.
	caller := &user.DefaultInfo{Name: resp.User.GetName(), UID: resp.User.GetUID(), Groups: resp.User.GetGroups()}
	// Not even what is in the header beside the certificate goes on.
	req.Header.Del("Authorization")
	p.asUser.ServeHTTP(w, req.WithContext(apirequest.WithUser(req.Context(), caller)))
}

// systemName returns the name of a user, or of one of its groups, that Kubernetes keeps
// for itself, or nothing.
func systemName(u user.Info) string {
	for _, name := range append([]string{u.GetName()}, u.GetGroups()...) {
		if strings.HasPrefix(name, systemPrefix) && name != user.AllAuthenticated {
			return name
		}
	}
	return ""
}

func forbid(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message,
	}}
}

// withImpersonation has the users that certificates are of be others, where they ask for
// that and may.
func (p *Proxy) withImpersonation() http.Handler {
	return impersonation.WithImpersonation(http.HandlerFunc(p.serve), p.certificates.Authorizer, codecs)
}

// removeClaims removes from the header of a request of a certificate's user what else says
// who asks: whom the user may be is decided.
func removeClaims(ctx context.Context, header http.Header) {
	if _, ok := apirequest.UserFrom(ctx); !ok {
		return
	}
	for name := range header {
		if name == "Authorization" || strings.HasPrefix(name, impersonatePrefix) {
			delete(header, name)
		}
	}
}

// impersonationOf returns what has the API server take a request for one of a user.
func impersonationOf(u user.Info) clienttransport.ImpersonationConfig {
	return clienttransport.ImpersonationConfig{UserName: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
}
