// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package localproxy

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// The defaults of kubectl proxy.
const (
	DefaultAcceptHosts   = `^localhost$,^127\.0\.0\.1$,^\[::1\]$`
	DefaultAcceptPaths   = "^.*"
	DefaultRejectPaths   = "^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach"
	DefaultRejectMethods = "^$"
)

// Patterns are regular expressions, one of which is to match.
type Patterns []*regexp.Regexp

// ParsePatterns reads regular expressions that are separated by commas.
func ParsePatterns(s string) (Patterns, error) {
	if s == "" {
		return nil, nil
	}
	var patterns Patterns
	for pattern := range strings.SplitSeq(s, ",") {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("parse %q: %w", pattern, err)
		}
		patterns = append(patterns, re)
	}
	return patterns, nil
}

func (p Patterns) match(s string) bool {
	for _, re := range p {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

// Filter says which requests are served, with the meaning that its patterns have with
// kubectl proxy.
type Filter struct {
	// AcceptHosts keep web pages out that have a name of their own resolve to this
	// machine: their requests come with that name in the Host header.
	AcceptHosts Patterns
	AcceptPaths Patterns
	// RejectPaths and RejectMethods go before.
	RejectPaths, RejectMethods Patterns
}

// handler serves by next what the filter accepts.
func (f Filter) handler(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !f.accepts(req) || origins.Check(withEffects(req)) != nil {
			klog.FromContext(req.Context()).V(3).Info("Request rejected", "method", req.Method, "path", req.URL.Path, "host", req.Host)
			http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// withEffects returns a request as one that is judged by where it comes from. A web page
// can have a browser send a POST to this machine, and open a WebSocket, without a name that
// resolves to it; a WebSocket begins with a GET, of which pages do not see the answer, but
// is read and written.
func withEffects(req *http.Request) *http.Request {
	if !httpstream.IsUpgradeRequest(req) {
		return req
	}
	judged := req.WithContext(req.Context())
	judged.Method = http.MethodPost
	return judged
}

func (f Filter) accepts(req *http.Request) bool {
	switch {
	case f.RejectPaths.match(req.URL.Path), f.RejectMethods.match(req.Method):
		return false
	default:
		return f.AcceptPaths.match(req.URL.Path) && f.acceptsHost(req.Host)
	}
}

// acceptsHost judges a Host header without its port. The default expects an IPv6 address
// in brackets, which it loses with its port.
func (f Filter) acceptsHost(header string) bool {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = header
	}
	return f.AcceptHosts.match(host) || strings.Contains(host, ":") && f.AcceptHosts.match("["+host+"]")
}
