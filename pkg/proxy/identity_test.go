// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	certutil "k8s.io/client-go/util/cert"
)

// authority signs client certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "ca"}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{certificate, key}
}

func (a *authority) sign(tb testing.TB, name string, groups ...string) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{data}, PrivateKey: key}
}

// certificates accepts certificates of the authority, and has alice impersonate bob.
func (a *authority) certificates() *Certificates {
	options := x509request.DefaultVerifyOptions()
	options.Roots = x509.NewCertPool()
	options.Roots.AddCert(a.certificate)
	return &Certificates{
		Authenticator: x509request.New(options, x509request.CommonNameUserConversion),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
			if attributes.GetVerb() == "impersonate" && attributes.GetUser().GetName() == "alice" && attributes.GetResource() == "users" && attributes.GetName() == "bob" {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "no", nil
		}),
	}
}

// TestIdentity sends what callers may come with, and looks at what arrives.
func TestIdentity(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	const own = "Authorization: Bearer the proxy's own"
	socket := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		header      []string
		types       []AuthType
		allowSystem bool
		wantCode    int
		want        []string
	}{
		"certificate": {
			certificate: ca.sign(t, "alice", "tenants", "dev"), wantCode: 200,
			want: []string{own, "Impersonate-Group: dev", "Impersonate-Group: tenants", "Impersonate-User: alice"},
		},
		"certificate and token, the certificate first": {
			certificate: ca.sign(t, "alice"), header: []string{"Authorization", "Bearer carol"}, wantCode: 200,
			want: []string{own, "Impersonate-User: alice"},
		},
		"certificate and token, the token first": {
			certificate: ca.sign(t, "alice"), header: []string{"Authorization", "Bearer carol"}, types: []AuthType{BearerToken, TLSCertificate}, wantCode: 200,
			want: []string{"Authorization: Bearer carol"},
		},
		"token of a WebSocket": {
			certificate: ca.sign(t, "alice"), header: append(socket, "Sec-Websocket-Protocol", "a, "+bearerProtocol+"eA"), types: []AuthType{BearerToken, TLSCertificate}, wantCode: 200,
			want: []string{"Connection: Upgrade", "Sec-Websocket-Protocol: a, " + bearerProtocol + "eA"},
		},
		"token of a WebSocket, the certificate first": {
			certificate: ca.sign(t, "alice"), header: append(socket, "Sec-Websocket-Protocol", "a, "+bearerProtocol+"eA"), wantCode: 200,
			want: []string{own, "Connection: Upgrade", "Impersonate-User: alice", "Sec-Websocket-Protocol: a"},
		},
		"token of a WebSocket in a request for none": {
			certificate: ca.sign(t, "alice"), header: []string{"Sec-Websocket-Protocol", "a, " + bearerProtocol + "eA"}, types: []AuthType{BearerToken, TLSCertificate}, wantCode: 200,
			want: []string{own, "Impersonate-User: alice", "Sec-Websocket-Protocol: a"},
		},
		"another scheme, the token first": {
			certificate: ca.sign(t, "alice"), header: []string{"Authorization", "Basic eDp5"}, types: []AuthType{BearerToken, TLSCertificate}, wantCode: 200,
			want: []string{own, "Impersonate-User: alice"},
		},
		"token where none is accepted":                {header: []string{"Authorization", "Bearer carol"}, types: []AuthType{TLSCertificate}, wantCode: 401},
		"token of a WebSocket where none is accepted": {header: append(socket, "Sec-Websocket-Protocol", "a, "+bearerProtocol+"eA"), types: []AuthType{TLSCertificate}, wantCode: 401},
		"another scheme where no token is accepted":   {header: []string{"Authorization", "Basic eDp5"}, types: []AuthType{TLSCertificate}, wantCode: 401},
		"token beside the certificate that alone is accepted": {
			certificate: ca.sign(t, "alice"), header: []string{"Authorization", "Bearer carol"}, types: []AuthType{TLSCertificate}, wantCode: 200,
			want: []string{own, "Impersonate-User: alice"},
		},
		"certificate where none is accepted": {certificate: ca.sign(t, "alice"), types: []AuthType{BearerToken}, wantCode: 401},
		"certificate beside the token that alone is accepted": {
			certificate: ca.sign(t, "alice"), header: []string{"Authorization", "Bearer carol"}, types: []AuthType{BearerToken}, wantCode: 200,
			want: []string{"Authorization: Bearer carol"},
		},
		"no credential where no token is accepted": {types: []AuthType{TLSCertificate}, wantCode: 200},

		"no credential":            {wantCode: 200},
		"another authority":        {certificate: other.sign(t, "alice"), wantCode: 401},
		"administrators":           {certificate: ca.sign(t, "root", "system:masters"), wantCode: 403},
		"node":                     {certificate: ca.sign(t, "system:node:a", "system:nodes"), wantCode: 403},
		"node, where it may":       {certificate: ca.sign(t, "system:node:a"), allowSystem: true, wantCode: 200, want: []string{own, "Impersonate-User: system:node:a"}},
		"group that everybody has": {certificate: ca.sign(t, "alice", "system:authenticated"), wantCode: 200, want: []string{own, "Impersonate-User: alice"}},

		"name of white space":           {certificate: ca.sign(t, " "), allowSystem: true, wantCode: 401},
		"name that begins with a space": {certificate: ca.sign(t, " system:kube-controller-manager"), wantCode: 401},
		"name that ends with a tab":     {certificate: ca.sign(t, "alice\t"), wantCode: 401},
		"name that has a line of its own": {
			certificate: ca.sign(t, "alice\r\nImpersonate-Group: system:masters"), wantCode: 401,
		},
		"name with a control character":   {certificate: ca.sign(t, "ali\x00ce"), wantCode: 401},
		"name with a space in it":         {certificate: ca.sign(t, "Alice Älg"), wantCode: 200, want: []string{own, "Impersonate-User: Alice Älg"}},
		"group that begins with a space":  {certificate: ca.sign(t, "alice", "tenants", " system:masters"), wantCode: 401},
		"group that ends with a new line": {certificate: ca.sign(t, "alice", "system:masters\n"), allowSystem: true, wantCode: 401},
		"group without a name":            {certificate: ca.sign(t, "alice", ""), wantCode: 401},
		"impersonation that is allowed": {
			certificate: ca.sign(t, "alice", "tenants"), header: []string{"Impersonate-User", "bob"}, wantCode: 200,
			want: []string{own, "Impersonate-User: bob"},
		},
		"impersonation that is not":             {certificate: ca.sign(t, "alice"), header: []string{"Impersonate-User", "admin"}, wantCode: 403},
		"impersonation of a group that is not":  {certificate: ca.sign(t, "alice"), header: []string{"Impersonate-User", "bob", "Impersonate-Group", "system:masters"}, wantCode: 403},
		"impersonation of a uid that is not":    {certificate: ca.sign(t, "alice"), header: []string{"Impersonate-User", "bob", "Impersonate-Uid", "7"}, wantCode: 403},
		"impersonation of extra that is not":    {certificate: ca.sign(t, "alice"), header: []string{"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "all"}, wantCode: 403},
		"impersonation of a group without user": {certificate: ca.sign(t, "alice"), header: []string{"Impersonate-Group", "system:masters"}, wantCode: 400},
		"what Connection names is not ours":     {certificate: ca.sign(t, "alice"), header: []string{"Connection", "Impersonate-User, Impersonate-Group, Authorization"}, wantCode: 400},
		"remote headers": {
			certificate: ca.sign(t, "alice"), header: []string{"X-Remote-User", "admin", "X-Remote-Group", "system:masters"}, wantCode: 200,
			want: []string{own, "Impersonate-User: alice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureWith(t, func(c *Config) {
				c.Certificates, c.AuthTypes = ca.certificates(), []AuthType{TLSCertificate, BearerToken}
				c.Certificates.AllowSystem = test.allowSystem
				if test.types != nil {
					c.AuthTypes = test.types
				}
				if !slices.Contains(c.AuthTypes, TLSCertificate) {
					c.Certificates = nil
				}
			}, func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "{}") })
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/api/v1/namespaces", nil)
			if err != nil {
				t.Fatal(err)
			}
			for pair := range slices.Chunk(test.header, 2) {
				req.Header.Add(pair[0], pair[1])
			}
			transport := f.transport(t, 1)
			if test.certificate != nil {
				transport.TLSClientConfig.Certificates = []tls.Certificate{*test.certificate}
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != test.wantCode {
				t.Errorf("want %d, got %d", test.wantCode, resp.StatusCode)
			}
			asked := f.upstream.asked()
			if (len(asked) > 0) != (test.wantCode == http.StatusOK) {
				t.Errorf("after a %d the API server is asked %d times", resp.StatusCode, len(asked))
			}
			for _, req := range asked {
				var got []string
				for name, values := range req.Header {
					for _, prefix := range []string{"Authorization", "Impersonate-", "X-Remote-", "Sec-Websocket-Protocol", "Connection"} {
						for _, value := range values {
							if strings.HasPrefix(name, prefix) {
								got = append(got, name+": "+value)
							}
						}
					}
				}
				slices.Sort(got)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("what arrives (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestImpersonatedGroupsOf looks at which groups of a user the proxy asks to be taken for a
// member of: not those that the API server adds.
func TestImpersonatedGroupsOf(t *testing.T) {
	for name, test := range map[string]struct {
		user        string
		given, want []string
	}{
		"none":                                {"alice", nil, nil},
		"added":                               {"alice", []string{"tenants", "system:authenticated"}, []string{"tenants"}},
		"added alone":                         {"alice", []string{"system:authenticated"}, []string{}},
		"not added":                           {"alice", []string{"system:unauthenticated"}, []string{"system:unauthenticated"}},
		"not added beside the other":          {"alice", []string{"system:authenticated", "system:unauthenticated"}, []string{"system:authenticated", "system:unauthenticated"}},
		"anonymous":                           {"system:anonymous", []string{"system:unauthenticated"}, []string{}},
		"anonymous, but authenticated":        {"system:anonymous", []string{"system:authenticated", "system:unauthenticated"}, []string{"system:authenticated"}},
		"service account":                     {"system:serviceaccount:oil:ci", []string{"system:serviceaccounts", "system:authenticated"}, []string{"system:serviceaccounts"}},
		"service account that is in none":     {"system:serviceaccount:oil:ci", nil, []string{"system:authenticated"}},
		"service account that is in no other": {"system:serviceaccount:oil:ci", []string{"system:authenticated"}, []string{"system:authenticated"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := impersonationOf(&user.DefaultInfo{Name: test.user, Groups: test.given}).Groups
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFitsHeaders has names of a kind that certificates give where a feature is on.
func TestFitsHeaders(t *testing.T) {
	for uid, want := range map[string]bool{"": true, "7": true, " 7": false, "7\n": false, "\x7f7": false} {
		if got := fitsHeaders(&user.DefaultInfo{Name: "alice", UID: uid}); got != want {
			t.Errorf("uid %q: want %t, got %t", uid, want, got)
		}
	}
	if fitsHeaders(&user.DefaultInfo{}) {
		t.Error("nobody is somebody")
	}
}

// TestRefusalIsRememberedOfOne has what is refused to the user of one certificate be
// asked for that of another one.
func TestRefusalIsRememberedOfOne(t *testing.T) {
	ca := newAuthority(t)
	f := newFixtureWith(t, func(c *Config) {
		c.Certificates, c.AuthTypes = ca.certificates(), []AuthType{TLSCertificate}
	}, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	for _, step := range []struct {
		name string
		want int
	}{{"alice", 2}, {"alice", 1}, {"bob", 2}} {
		transport := f.transport(t, 2)
		transport.TLSClientConfig.Certificates = []tls.Certificate{*ca.sign(t, step.name)}
		client := &http.Client{Transport: transport}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/api/v1/namespaces", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if got := paths(f.upstream.asked()); len(got) != step.want {
			t.Errorf("%s: want %d requests, got %q", step.name, step.want, got)
		}
	}
}

// TestPlainHTTP has who comes without a credential be told, and nobody be asked.
func TestPlainHTTP(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "{}") })
	for name, test := range map[string]struct {
		target, header, value string
		want, wantAsked       int
	}{
		"no credential":    {"/api/v1/namespaces", "", "", 401, 0},
		"version":          {"/version", "", "", 401, 0},
		"somebody's claim": {"/api/v1/namespaces", "X-Remote-User", "admin", 401, 0},
		"no token":         {"/api/v1/namespaces", "Authorization", "Basic eDp5", 401, 0},
		"token":            {"/api/v1/namespaces", "Authorization", "Bearer alice", 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.target, nil)
			if test.header != "" {
				req.Header.Set(test.header, test.value)
			}
			w := httptest.NewRecorder()
			f.proxy.ServeHTTP(w, req)
			if w.Code != test.want {
				t.Errorf("want %d, got %d", test.want, w.Code)
			}
			if test.want == http.StatusUnauthorized {
				if status, _, err := decodeStatus(w.Body.Bytes(), "application/json"); err != nil || status.Reason != metav1.StatusReasonUnauthorized {
					t.Errorf("want a Status, got %q", w.Body)
				}
			}
			if asked := f.upstream.asked(); len(asked) != test.wantAsked {
				t.Errorf("asked %q", paths(asked))
			}
		})
	}
}
