// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/keyutil"
)

// identities returns what headers of a request say of who asks.
func identities(header http.Header) []string {
	var found []string
	for _, name := range []string{"Authorization", "Impersonate-User", "Impersonate-Group", "X-Remote-User"} {
		if values := header.Values(name); len(values) > 0 {
			found = append(found, name+": "+strings.Join(values, ","))
		}
	}
	return found
}

// TestSharedCredential has requests go upstream, to the native path and to the view, with
// the credential that is every caller's.
func TestSharedCredential(t *testing.T) {
	for name, test := range map[string]struct {
		impersonate rest.ImpersonationConfig
		given, want []string
	}{
		"nothing":               {want: []string{"Authorization: Bearer the proxy's own"}},
		"a credential":          {given: []string{"Authorization", "Bearer alice"}, want: []string{"Authorization: Bearer alice"}},
		"impersonation":         {given: []string{"Impersonate-User", "bob"}, want: []string{"Authorization: Bearer the proxy's own", "Impersonate-User: bob"}},
		"remote headers":        {given: []string{"X-Remote-User", "admin"}, want: []string{"Authorization: Bearer the proxy's own"}},
		"as somebody":           {impersonate: rest.ImpersonationConfig{UserName: "carol", Groups: []string{"oil", "gas"}}, want: []string{"Authorization: Bearer the proxy's own", "Impersonate-User: carol", "Impersonate-Group: oil,gas"}},
		"as somebody, and else": {impersonate: rest.ImpersonationConfig{UserName: "carol", Groups: []string{"oil"}}, given: []string{"Impersonate-User", "bob"}, want: []string{"Authorization: Bearer the proxy's own", "Impersonate-User: bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureWith(t, func(c *Config) {
				c.SharedCredential, c.Upstream.Impersonate, c.AuthTypes = true, test.impersonate, nil
			}, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
			resp, body := f.get(t, "/api/v1/namespaces", test.given...)
			if resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != nativeOne {
				t.Errorf("got %d, %q", resp.StatusCode, body)
			}
			asked := f.upstream.asked()
			if diff := cmp.Diff([]string{"/api/v1/namespaces", viewPrefix + "tenantnamespaces"}, paths(asked)); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			for _, req := range asked {
				if diff := cmp.Diff(test.want, identities(req.Header)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", req.URL.Path, diff)
				}
			}
		})
	}
}

// TestSharedCredentialIsRemembered has a refusal of one caller be everybody's, who are
// one user, but for those who say that they are another.
func TestSharedCredentialIsRemembered(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) { c.SharedCredential = true },
		refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	const native, view = "/api/v1/namespaces", viewPrefix + "tenantnamespaces"
	for _, step := range []struct {
		header, want []string
	}{
		{nil, []string{native, view}},
		{nil, []string{view}},
		{[]string{"Impersonate-User", "bob"}, []string{native, view}},
		{[]string{"Authorization", "Bearer alice"}, []string{native, view}},
	} {
		f.get(t, native, step.header...)
		if diff := cmp.Diff(step.want, paths(f.upstream.asked())); diff != "" {
			t.Errorf("%v: asked (-want +got):\n%s", step.header, diff)
		}
	}
}

// TestSharedCredentialOfReviews has what the proxy asks for itself go with the
// credential, too.
func TestSharedCredentialOfReviews(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) { c.SharedCredential = true }, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			respond(w, http.StatusCreated, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":false}}`)
			return
		}
		respond(w, http.StatusOK, viewOfOne)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+accessReviews,
		strings.NewReader(`{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{"resourceAttributes":{"verb":"list","resource":"namespaces"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := f.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), `"allowed":true`) {
		t.Errorf("got %q, %v", body, err)
	}
	asked := f.upstream.asked()
	if len(asked) != 2 {
		t.Errorf("asked %v", paths(asked))
	}
	for _, req := range asked {
		if diff := cmp.Diff([]string{"Authorization: Bearer the proxy's own"}, identities(req.Header)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", req.URL.Path, diff)
		}
	}
}

// TestSharedCredentialOfExecPlugin has an exec plugin give the credential.
func TestSharedCredentialOfExecPlugin(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "plugin")
	const script = `#!/bin/sh
echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"of the plugin"}}'
`
	if err := os.WriteFile(plugin, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	f := newFixtureWith(t, func(c *Config) {
		c.SharedCredential, c.Upstream.BearerToken = true, ""
		c.Upstream.ExecProvider = &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: plugin, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		}
	}, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	if resp, body := f.get(t, "/api/v1/namespaces"); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d, %q", resp.StatusCode, body)
	}
	for _, req := range f.upstream.asked() {
		if diff := cmp.Diff([]string{"Authorization: Bearer of the plugin"}, identities(req.Header)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", req.URL.Path, diff)
		}
	}
}

// TestSharedClientCertificate has a client certificate be the credential.
func TestSharedClientCertificate(t *testing.T) {
	certificate := newAuthority(t).sign(t, "alice")
	key, err := keyutil.MarshalPrivateKeyToPEM(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixtureWith(t, func(c *Config) {
		c.SharedCredential, c.Upstream.BearerToken = true, ""
		c.Upstream.CertData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
		c.Upstream.KeyData = key
	}, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	f.get(t, "/api/v1/namespaces")
	for _, req := range f.upstream.asked() {
		if certificates := req.TLS.PeerCertificates; len(certificates) != 1 || certificates[0].Subject.CommonName != "alice" {
			t.Errorf("%s: asked with %d certificates", req.URL.Path, len(certificates))
		}
	}
}

// TestSharedCredentialOfUpgrade has a connection that changes its protocol begin with the
// credential.
func TestSharedCredentialOfUpgrade(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) { c.SharedCredential = true }, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = buffered.Flush()
		line, _ := buffered.ReadString('\n')
		_, _ = buffered.WriteString(line)
		_ = buffered.Flush()
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+"/api/v1/namespaces/oil/pods/a/portforward", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	transport := f.transport(t, 1)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream, ok := resp.Body.(io.ReadWriter)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("got %d", resp.StatusCode)
	}
	_, _ = fmt.Fprintln(stream, "hello")
	if line, err := bufio.NewReader(stream).ReadString('\n'); line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	for _, req := range f.upstream.asked() {
		if diff := cmp.Diff([]string{"Authorization: Bearer the proxy's own"}, identities(req.Header)); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	}
}

func TestSharedCredentialVouchesForNobody(t *testing.T) {
	_, err := New(Config{Upstream: &rest.Config{Host: "https://localhost"}, SharedCredential: true, Certificates: newAuthority(t).certificates()})
	if err == nil {
		t.Error("it may be every caller's and impersonate some of them")
	}
}
