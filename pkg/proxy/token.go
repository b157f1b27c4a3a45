// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// bearerProtocol begins the WebSocket subprotocol by which browsers send a token, see
// k8s.io/apiserver/pkg/authentication/request/websocket.
const bearerProtocol = "base64url.bearer.authorization.k8s.io." //nolint:gosec // no token

// unknowable is what tokenOf returns of a request whose token is none, as the API server
// reads it, or one of several, of which its answer does not say which it took.
const unknowable = ""

// tokenOf returns the token that a request comes with, and whether there is one, as the API
// server finds it. Other credentials in its place are none: who sends them is anonymous there.
func tokenOf(req *http.Request) (token string, ok bool) {
	token, ok = bearerOf(req.Header)
	protocols := tokenProtocolsOf(req)
	if len(protocols) == 0 {
		return token, ok
	}
	decoded, err := base64.RawURLEncoding.DecodeString(protocols[0])
	if ok || len(protocols) > 1 || err != nil || !utf8.Valid(decoded) {
		return unknowable, true
	}
	return string(decoded), len(decoded) > 0
}

// bearerOf returns the token in the Authorization header, as
// k8s.io/apiserver/pkg/authentication/request/bearertoken reads it.
func bearerOf(header http.Header) (token string, ok bool) {
	parts := strings.SplitN(strings.TrimSpace(header.Get("Authorization")), " ", 3)
	if len(parts) < 2 || !strings.EqualFold(parts[0], "Bearer") || parts[1] == "" {
		return "", false
	}
	return parts[1], true
}

// tokenProtocolsOf returns the tokens among the subprotocols of a request for a WebSocket,
// encoded as they come. Those of other requests are nothing to the API server, and whether it
// is one depends on what is sent on.
func tokenProtocolsOf(req *http.Request) []string {
	if !httpguts.HeaderValuesContainsToken(req.Header["Connection"], "Upgrade") || !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return nil
	}
	var tokens []string
	for _, protocols := range req.Header["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(protocols, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(protocol), bearerProtocol); ok {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}

// removeTokenProtocols removes tokens from the subprotocols that a client offers.
func removeTokenProtocols(header http.Header) {
	const name = "Sec-Websocket-Protocol"
	if !slices.ContainsFunc(header[name], func(protocols string) bool { return strings.Contains(protocols, bearerProtocol) }) {
		return
	}
	protocols := strings.Split(strings.Join(header[name], ","), ",")
	protocols = slices.DeleteFunc(protocols, func(protocol string) bool { return strings.HasPrefix(strings.TrimSpace(protocol), bearerProtocol) })
	header.Del(name)
	if len(protocols) > 0 {
		header.Set(name, strings.TrimSpace(strings.Join(protocols, ",")))
	}
}

// hidesWho reports whether a request's Connection header names a header that says who asks.
// Proxies remove such, and so take the request for somebody else's than who sent it meant: one
// with a token for nobody's, and one in somebody else's name for the caller's own. Nobody needs
// that, but to be taken for whom he is not.
func hidesWho(header http.Header) bool {
	for _, names := range header["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			if saysWho(http.CanonicalHeaderKey(strings.TrimSpace(name))) {
				return true
			}
		}
	}
	return false
}
