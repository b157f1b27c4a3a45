// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// The ends of an answer that somebody else's takes the place of.
var (
	errRefused = errors.New("refused by the API server")
	errNoView  = errors.New("not answered by a view")
	errAbsent  = errors.New("of a namespace that the view does not have")
)

// Config says what a proxy is in front of.
type Config struct {
	// Upstream reaches the API server. Its credential is used for callers with client
	// certificates alone, or with SharedCredential.
	Upstream *rest.Config
	// SharedCredential says that the credential of Upstream, and whom it impersonates,
	// is every caller's: who reaches the proxy is that user, as with kubectl proxy. It
	// is for a proxy of one user, and nobody else may reach that one.
	SharedCredential bool
	// AuthTypes are the credentials that callers may come with, those first that count
	// where there are several.
	AuthTypes []AuthType
	// Certificates is nil if client certificates are nobody's credential here.
	Certificates *Certificates
	// IgnoredUsers and IgnoredGroups are the names of callers for whom no view is asked.
	IgnoredUsers, IgnoredGroups []string
	// ImpersonatedGroups are the groups that callers may ask to be members of.
	ImpersonatedGroups GroupFilter
	// Clock tells how old what is remembered is.
	Clock clock.Clock
}

// Proxy is an http.Handler.
type Proxy struct {
	router   *router
	denied   *denied
	upstream *url.URL
	// native sends requests on as they are, and views what a view can answer to the
	// view.
	native, views *forwarder
	// reviews sends on what callers ask about themselves.
	reviews   *forwarder
	transport *transport
	// questionTimeout is how long a review may take to be sent.
	questionTimeout time.Duration

	// shared says that the proxy's own credential is every caller's.
	shared       bool
	authTypes    []AuthType
	certificates *Certificates
	ignored      *ignored
	groups       GroupFilter
	rejected     *rejected
	metrics      *metrics
	// asUser serves requests with the user of a certificate in their context.
	asUser http.Handler
}

// New returns a proxy in front of an API server. It fails if its address or its CA
// cannot be understood, and if a credential is to be everybody's and to vouch for some.
func New(c Config) (*Proxy, error) {
	if c.SharedCredential && c.Certificates != nil {
		return nil, errors.New("a credential that is every caller's cannot impersonate those with client certificates")
	}
	transport, err := newTransport(c)
	if err != nil {
		return nil, err
	}
	upstream, _, err := rest.DefaultServerUrlFor(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("read address of the API server: %w", err)
	}
	// What is joined to an empty path is relative.
	upstream = upstream.JoinPath("/")
	p := &Proxy{
		router: newRouter(), denied: newDenied(c.Clock), upstream: upstream, transport: transport,
		shared: c.SharedCredential, authTypes: c.AuthTypes, certificates: c.Certificates, metrics: newMetrics(),
		groups: c.ImpersonatedGroups, rejected: newRejected(c.Clock), questionTimeout: questionTimeout,
	}
	p.ignored = newIgnored(c, p)
	p.native = newForwarder(httputil.ReverseProxy{Rewrite: p.toNative, ModifyResponse: endRefusal, ErrorHandler: nativeFailed, Transport: transport})
	p.views = newForwarder(httputil.ReverseProxy{Rewrite: p.toView, ModifyResponse: rewriteAnswer, ErrorHandler: p.viewFailed, Transport: transport})
	p.reviews = newForwarder(httputil.ReverseProxy{Rewrite: p.toNativePlain, ModifyResponse: p.reviseReview, ErrorHandler: fail, Transport: transport})
	if p.certificates != nil {
		p.asUser = p.withImpersonation()
	}
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	req, err := withRequestInfo(req)
	if err != nil {
		writeError(w, req, apierrors.NewBadRequest(err.Error()))
		return
	}
	w, done := p.measure(w, req)
	// Deferred, for an answer that breaks off panics.
	defer done()
	if w, ok := p.identify(w, req); ok {
		p.serve(w, req)
	}
}

// serve serves a request of a caller who is known, or is the API server's to know.
func (p *Proxy) serve(w http.ResponseWriter, req *http.Request) {
	r := p.router.route(req)
	if r == nil && !isReview(req) {
		p.native.ServeHTTP(w, req)
		return
	}
	switch ignore, err := p.ignored.contains(req); {
	case err != nil:
		fail(w, req, err)
		return
	case ignore:
		p.native.ServeHTTP(w, req)
		return
	case r == nil:
		p.serveReview(w, req)
		return
	}
	r.request = withoutBody(req)
	req = r.request.WithContext(context.WithValue(req.Context(), routeKey{}, r))
	if !p.isRefused(w, req, r) {
		return
	}
	if r.verb != verbWatch {
		defer p.metrics.answeredByView(r.resource, time.Now())
	}
	p.views.ServeHTTP(w, req)
}

// withoutBody returns a GET without a body: the API server reads none, and it could not be sent
// once more.
func withoutBody(req *http.Request) *http.Request {
	req = req.WithContext(req.Context())
	req.Body, req.ContentLength, req.TransferEncoding, req.Trailer = http.NoBody, 0, nil, nil
	return req
}

// isRefused reports whether the API server refuses a request. If it does not, its answer has
// been served.
func (p *Proxy) isRefused(w http.ResponseWriter, req *http.Request, r *route) bool {
	if r.verb == verbGet {
		p.native.ServeHTTP(w, req)
		return r.refused != nil
	}
	refusal := refusalOf(req, r)
	if p.denied.contains(refusal) {
		return true
	}
	p.native.ServeHTTP(w, req)
	if r.refused == nil {
		return false
	}
	p.denied.add(refusal)
	return true
}

// errorLog is told when an answer ends early: mostly because its client has gone.
var errorLog = log.New(logWriter{}, "", 0)

type logWriter struct{}

// Write implements io.Writer.
func (logWriter) Write(line []byte) (int, error) {
	klog.Background().V(4).Info("An answer ended early", "reason", strings.TrimSpace(string(line)))
	return len(line), nil
}

type routeKey struct{}

// routeOf returns the route of a request that a view may be asked for, or nil.
func routeOf(ctx context.Context) *route {
	r, _ := ctx.Value(routeKey{}).(*route)
	return r
}

// toNative makes the request that goes upstream. Headers that the client named as those
// of its connection are gone already.
func (p *Proxy) toNative(r *httputil.ProxyRequest) {
	r.SetURL(p.upstream)
	r.Out.Host = p.upstream.Host
	for name := range r.Out.Header {
		if strings.HasPrefix(name, remotePrefix) {
			delete(r.Out.Header, name)
		}
	}
	removeClaims(r.Out.Context(), r.Out.Header)
	// The API server writes it into its audit log.
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
}

// toNativePlain makes a request that goes upstream, whose answer has to be understood.
func (p *Proxy) toNativePlain(r *httputil.ProxyRequest) {
	p.toNative(r)
	r.Out.Header.Set("Accept-Encoding", "identity")
}

// remotePrefix begins the headers by which proxies that the API server trusts say who
// asks. It does not trust this one, and nobody is to try.
const remotePrefix = "X-Remote-"

// endRefusal ends the API server's answer if it is a refusal of what a view can answer. Not
// all that has status 403 is: an application may answer behind a path of the API server's,
// or something in front of that.
func endRefusal(resp *http.Response) error {
	r := routeOf(resp.Request.Context())
	if r == nil || resp.StatusCode != http.StatusForbidden || !canBeStatus(resp) {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus+1))
	if err != nil {
		return fmt.Errorf("read refusal: %w", err)
	}
	if !isForbidden(body, resp.Header) {
		resp.Body = continued(body, resp.Body)
		return nil
	}
	r.refused = &refusedAnswer{resp.Header, body}
	return errRefused
}

// refusedAnswer is an answer with status 403.
type refusedAnswer struct {
	header http.Header
	body   []byte
}

func (a *refusedAnswer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(http.StatusForbidden)
	// Who does not take it has gone.
	_, _ = w.Write(a.body)
}

// nativeFailed answers where the API server did not. Who sent a request that it refuses asks
// somebody else next.
func nativeFailed(w http.ResponseWriter, req *http.Request, err error) {
	if !errors.Is(err, errRefused) {
		fail(w, req, err)
	}
}

// fail tells a client that the API server cannot be asked, or what else the error says if it
// is for clients.
func fail(w http.ResponseWriter, req *http.Request, err error) {
	logger := klog.FromContext(req.Context())
	if req.Context().Err() != nil {
		logger.V(4).Info("The client has gone", "method", req.Method, "path", req.URL.Path)
		// Who has not, and only says that no more requests come, is not to take no answer
		// for an empty one.
		panic(http.ErrAbortHandler)
	}
	status := statusOf(err)
	unread := requestBodyOf(req.Context()).err()
	switch {
	case status == nil && unread != nil:
		status = apierrors.NewBadRequest("the body of the request cannot be read: " + unread.Error())
		logger.V(4).Info("A request cannot be read", "method", req.Method, "path", req.URL.Path, "err", unread)
	case status == nil:
		status = apierrors.NewServiceUnavailable("the API server does not answer: try again later")
		logger.Error(err, "The API server does not answer", "method", req.Method, "path", req.URL.Path)
	case status.ErrStatus.Code >= http.StatusInternalServerError:
		logger.Error(err, "A request cannot be answered", "method", req.Method, "path", req.URL.Path)
	default:
		logger.V(4).Info("A request is not answered", "method", req.Method, "path", req.URL.Path, "err", err)
	}
	writeError(w, req, status)
}
