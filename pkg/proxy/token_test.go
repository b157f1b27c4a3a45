// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
)

// TestTokenOf compares what the proxy takes for a token with what the API server does.
func TestTokenOf(t *testing.T) {
	const alice, encoded = "Bearer alice", bearerProtocol + "YWxpY2U"
	type token struct {
		Token string
		OK    bool
	}
	for name, test := range map[string]struct {
		authorization, protocols []string
		connection, upgrade      string
		want                     token
	}{
		"nothing":                       {},
		"token":                         {authorization: []string{alice}, want: token{"alice", true}},
		"token in capitals":             {authorization: []string{"  BEARER alice"}, want: token{"alice", true}},
		"token with something after it": {authorization: []string{alice + " x y"}, want: token{"alice", true}},
		"second token":                  {authorization: []string{alice, "Bearer bob"}, want: token{"alice", true}},
		"token after something else":    {authorization: []string{"Basic eDp5", alice}},
		"no space before it":            {authorization: []string{"Beareralice"}},
		"space before it":               {authorization: []string{"Bearer  alice"}},
		"tab before it":                 {authorization: []string{"Bearer\talice"}},
		"empty token":                   {authorization: []string{"Bearer "}},
		"another scheme":                {authorization: []string{"Basic eDp5"}},

		"subprotocol":                      {protocols: []string{"a," + encoded}, connection: "Upgrade", upgrade: "websocket", want: token{"alice", true}},
		"subprotocol in a line of its own": {protocols: []string{"a", " " + encoded + " "}, connection: "Keep-Alive, upgrade", upgrade: "WebSocket", want: token{"alice", true}},
		"subprotocol alone":                {protocols: []string{encoded}, connection: "Upgrade", upgrade: "websocket", want: token{"alice", true}},
		"empty subprotocol":                {protocols: []string{"a", bearerProtocol}, connection: "Upgrade", upgrade: "websocket"},
		"subprotocol in other letters":     {protocols: []string{"a", "Base64url.bearer.authorization.k8s.io.YWxpY2U"}, connection: "Upgrade", upgrade: "websocket"},
		"subprotocol that is not encoded":  {protocols: []string{"a", bearerProtocol + "!"}, connection: "Upgrade", upgrade: "websocket", want: token{unknowable, true}},
		"subprotocol that is no text":      {protocols: []string{"a", bearerProtocol + "_w"}, connection: "Upgrade", upgrade: "websocket", want: token{unknowable, true}},
		"two subprotocols":                 {protocols: []string{"a", encoded, encoded}, connection: "Upgrade", upgrade: "websocket", want: token{unknowable, true}},
		"subprotocol of another upgrade":   {protocols: []string{"a", encoded}, connection: "Upgrade", upgrade: "SPDY/3.1"},
		"subprotocol of no upgrade":        {protocols: []string{"a", encoded}, upgrade: "websocket"},
		"both":                             {authorization: []string{alice}, protocols: []string{"a", bearerProtocol + "Ym9i"}, connection: "Upgrade", upgrade: "websocket", want: token{unknowable, true}},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			req.Header["Authorization"], req.Header["Sec-Websocket-Protocol"] = test.authorization, test.protocols
			req.Header.Set("Connection", test.connection)
			req.Header.Set("Upgrade", test.upgrade)
			var got token
			got.Token, got.OK = tokenOf(req)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// What the API server looks for, or why it says no without that.
			var found []string
			rejects := authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
				found = append(found, token)
				return nil, false, nil
			})
			_, _, errOfHeader := bearertoken.New(rejects).AuthenticateRequest(req)
			_, _, errOfProtocol := websocket.NewProtocolAuthenticator(rejects).AuthenticateRequest(req)
			if rejected := errOfHeader != nil || errOfProtocol != nil; rejected != got.OK {
				t.Errorf("that there is a token is %t, for the API server %t", got.OK, rejected)
			}
			if got.Token != unknowable && len(found) > 0 && !slices.Equal(found, []string{got.Token}) {
				t.Errorf("the API server finds %q", found)
			}
		})
	}
}

// TestHiddenClaims has requests say that who asks is a matter of their connection, which
// proxies take away.
func TestHiddenClaims(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "{}") })
	for name, test := range map[string]struct {
		connection []string
		want       int
	}{
		"token":                  {[]string{"Authorization"}, 400},
		"in small letters":       {[]string{"close,  authorization"}, 400},
		"in another line":        {[]string{"close", "x, AUTHORIZATION\t"}, 400},
		"user":                   {[]string{"Impersonate-User"}, 400},
		"extra":                  {[]string{"impersonate-extra-scopes"}, 400},
		"subprotocol":            {[]string{"Upgrade, Sec-WebSocket-Protocol"}, 400},
		"something else":         {[]string{"X-Something, close"}, 200},
		"nothing":                {nil, 200},
		"something like a token": {[]string{"X-Authorization, Authorizations"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://proxy/api/v1/pods", nil)
			req.Header = http.Header{"Authorization": {"Bearer alice"}, "Impersonate-User": {"bob"}, "Connection": test.connection}
			w := httptest.NewRecorder()
			f.proxy.ServeHTTP(w, req)
			if w.Code != test.want {
				t.Errorf("want %d, got %d", test.want, w.Code)
			}
			asked := f.upstream.asked()
			if (len(asked) > 0) != (test.want == http.StatusOK) {
				t.Errorf("after a %d the API server is asked %d times", w.Code, len(asked))
			}
			for _, req := range asked {
				if diff := cmp.Diff([]string{"Authorization: Bearer alice", "Impersonate-User: bob"}, identities(req.Header)); diff != "" {
					t.Errorf("what arrives (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestRemoveTokenProtocols(t *testing.T) {
	for name, test := range map[string]struct{ given, want []string }{
		"none":          {nil, nil},
		"no token":      {[]string{"a, b", "c"}, []string{"a, b", "c"}},
		"one of two":    {[]string{bearerProtocol + "eA, a"}, []string{"a"}},
		"in other line": {[]string{"a", "b," + bearerProtocol + "eA", "c"}, []string{"a,b,c"}},
		"alone":         {[]string{bearerProtocol + "eA"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if test.given != nil {
				header["Sec-Websocket-Protocol"] = test.given
			}
			removeTokenProtocols(header)
			if diff := cmp.Diff(test.want, header["Sec-Websocket-Protocol"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
