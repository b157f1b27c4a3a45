// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
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

// identify finds the first credential of the preferred types that a request comes with, and
// reports whether the request is to be served as it is. If not, it has been answered: one with
// a certificate is served in its user's name. One with credentials of other types alone is
// refused, and not taken for nobody's: upstream it could be somebody's. One without a credential
// goes upstream as it is: there it is anonymous. Not so by plain HTTP, where clients such as
// kubectl send no credential even if they have one, and are better told than taken for nobody.
// What it returns writes as w does.
func (p *Proxy) identify(w http.ResponseWriter, req *http.Request) (_ http.ResponseWriter, ok bool) {
	if hidesWho(req.Header) {
		writeError(w, req, apierrors.NewBadRequest("the Connection header names one that says who asks"))
		return nil, false
	}
	p.groups.apply(req.Header)
	token, hasToken := tokenOf(req)
	hasCertificate := req.TLS != nil && len(req.TLS.PeerCertificates) > 0
	for _, kind := range p.authTypes {
		switch {
		case kind == BearerToken && hasToken:
			answered, ok := p.rejected.admits(req, token)
			if !ok {
				writeError(w, req, errRejected)
				return nil, false
			}
			return onStatus(w, answered), true
		case kind == TLSCertificate && p.certificates != nil && hasCertificate:
			p.serveCertificate(w, req)
			return nil, false
		}
	}
	// Where no tokens are to come nothing in their place goes upstream: there may be servers
	// that know other credentials than the API server does.
	unwanted := hasToken || req.Header.Get("Authorization") != "" && !slices.Contains(p.authTypes, BearerToken)
	switch {
	case p.shared:
		// Who wants to be somebody else than the user whose credential is everybody's is
		// the API server's to judge.
	case unwanted || hasCertificate:
		writeError(w, req, apierrors.NewUnauthorized("credentials of this type are not accepted here"))
		return nil, false
	case req.TLS == nil:
		writeError(w, req, apierrors.NewUnauthorized("there is no credential: send a bearer token, which kubectl does by https alone"))
		return nil, false
	}
	return w, true
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
	if !fitsHeaders(resp.User) {
		logger.V(2).Info("A client certificate is not accepted for its names", "name", resp.User.GetName(), "groups", resp.User.GetGroups())
		writeError(w, req, apierrors.NewUnauthorized("the client certificate is not accepted: headers cannot hold its names"))
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

// fitsHeaders reports whether headers can say who a user is. White space at the ends of a name
// is lost on the way, by which " system:masters" would be system:masters when it arrives, after
// it was taken for somebody else here. Control characters are lost, or have nothing be sent.
func fitsHeaders(u user.Info) bool {
	for _, name := range append([]string{u.GetName()}, u.GetGroups()...) {
		if name == "" || name != strings.TrimSpace(name) || !httpguts.ValidHeaderFieldValue(name) {
			return false
		}
	}
	return u.GetUID() == strings.TrimSpace(u.GetUID()) && httpguts.ValidHeaderFieldValue(u.GetUID())
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
	removeTokenProtocols(header)
}

// impersonationOf returns what has the API server take a request for one of a user.
func impersonationOf(u user.Info) clienttransport.ImpersonationConfig {
	return clienttransport.ImpersonationConfig{UserName: u.GetName(), UID: u.GetUID(), Groups: groupsOf(u), Extra: u.GetExtra()}
}

// groupsOf returns the groups of a user without the one that the API server adds by itself, see
// k8s.io/apiserver/pkg/endpoints/filters/impersonation: the proxy need not be allowed to take
// it.
func groupsOf(u user.Info) []string {
	groups, added := u.GetGroups(), user.AllAuthenticated
	if u.GetName() == user.Anonymous {
		added = user.AllUnauthenticated
	} else if slices.Contains(groups, user.AllUnauthenticated) {
		return groups
	}
	groups = slices.DeleteFunc(slices.Clone(groups), func(group string) bool { return group == added })
	if _, _, err := serviceaccount.SplitUsername(u.GetName()); err == nil && len(groups) == 0 {
		// Of one without groups the API server adds those of service accounts.
		return []string{added}
	}
	return groups
}
