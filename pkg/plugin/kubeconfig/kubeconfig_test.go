// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	server = "https://proxy.example.com:9001"
	secret = "s3cret"
)

// authority returns a CA and its key, in PEM.
func authority(tb testing.TB) (certificate, key []byte) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "ca"}, private)
	if err != nil {
		tb.Fatal(err)
	}
	key, err = keyutil.MarshalPrivateKeyToPEM(private)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), key
}

func write(tb testing.TB, dir, name string, data ...byte) string {
	tb.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

const given = `apiVersion: v1
kind: Config
current-context: native
clusters:
- name: native
  cluster:
    server: https://native.example.com:6443
    certificate-authority: native.crt
    extensions:
    - name: client.authentication.k8s.io/exec
      extension: {audience: oil}
contexts:
- name: native
  context: {cluster: native, user: alice, namespace: oil-production}
- name: by-file
  context: {cluster: native, user: certificate}
- name: nobody
  context: {cluster: native, user: gone}
users:
- name: alice
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./bin/login
      args: [--for, oil]
      interactiveMode: IfAvailable
      provideClusterInfo: true
- name: certificate
  user:
    client-certificate: alice.crt
    client-key: alice.key
- name: token
  user: {token: s3cret}
`

// loaded returns a kubeconfig as the command loads it, and the file that it is in.
func loaded(tb testing.TB) (config *clientcmdapi.Config, rules *clientcmd.ClientConfigLoadingRules, dir string) {
	tb.Helper()
	dir = tb.TempDir()
	rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: write(tb, dir, "config", []byte(given)...)}
	config, err := rules.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return config, rules, dir
}

// written returns a kubeconfig as it is read again by who has nothing but what was written.
func written(tb testing.TB, config *clientcmdapi.Config) string {
	tb.Helper()
	data, err := clientcmd.Write(*config)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestNew(t *testing.T) {
	config, _, dir := loaded(t)
	made, warnings, err := New(config, Options{Server: server})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := `apiVersion: v1
clusters:
- cluster:
    extensions:
    - extension:
        audience: oil
      name: client.authentication.k8s.io/exec
    server: https://proxy.example.com:9001
  name: native-tenancy
contexts:
- context:
    cluster: native-tenancy
    namespace: oil-production
    user: alice
  name: native-tenancy
current-context: native-tenancy
kind: Config
users:
- name: alice
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - --for
      - oil
      command: DIR/bin/login
      env: null
      interactiveMode: IfAvailable
      provideClusterInfo: true
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "DIR", dir), written(t, made)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNewOfOthers(t *testing.T) {
	config, _, dir := loaded(t)
	ca, _ := authority(t)
	file := write(t, dir, "ca.crt", append([]byte("the proxy's\n"), ca...)...)
	made, _, err := New(config, Options{
		Server: server, CAFile: file, TLSServerName: "proxy", ContextName: "oil", Context: "by-file", Namespace: "oil-test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca, TLSServerName: "proxy", Extensions: made.Clusters["oil"].Extensions}, made.Clusters["oil"]); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&clientcmdapi.Context{Cluster: "oil", AuthInfo: "certificate", Namespace: "oil-test"}, made.Contexts["oil"]); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	user := made.AuthInfos["certificate"]
	if user.ClientCertificate != filepath.Join(dir, "alice.crt") || user.ClientKey != filepath.Join(dir, "alice.key") {
		t.Errorf("user %+v", user)
	}
	if made, _, err = New(config, Options{Server: server, User: "token"}); err != nil || made.AuthInfos["token"].Token != secret {
		t.Errorf("got %v", err)
	}
}

func TestNewWarns(t *testing.T) {
	config, _, _ := loaded(t)
	for _, o := range []Options{{Server: server, Insecure: true}, {Server: "http://proxy", AllowHTTP: true}} {
		if _, warnings, err := New(config, o); err != nil || len(warnings) != 1 {
			t.Errorf("%s: got %v, warnings %q", o.Server, err, warnings)
		}
	}
}

// TestNewFails has errors name the flag, and no credential.
func TestNewFails(t *testing.T) {
	config, _, dir := loaded(t)
	ca, key := authority(t)
	for name, test := range map[string]struct {
		o    Options
		want []string
	}{
		"no server":           {Options{}, []string{"--server", "https://"}},
		"no URL":              {Options{Server: "https://alice:" + secret + "@%zz"}, []string{"--server", "https://"}},
		"no host":             {Options{Server: "proxy.example.com"}, []string{"--server", "https://"}},
		"password":            {Options{Server: "https://alice:" + secret + "@proxy"}, []string{"--server", "leave them out"}},
		"query":               {Options{Server: server + "?token=" + secret}, []string{"--server", "leave it out"}},
		"other scheme":        {Options{Server: "ftp://proxy"}, []string{"--server", "https"}},
		"http":                {Options{Server: "http://proxy"}, []string{"--server", "--allow-http"}},
		"http with a CA":      {Options{Server: "http://proxy", AllowHTTP: true, CAFile: "ca"}, []string{"--certificate-authority", "leave out"}},
		"CA and insecure":     {Options{Server: server, CAFile: "ca", Insecure: true}, []string{"--certificate-authority", "--insecure-skip-tls-verify", "leave out"}},
		"no CA":               {Options{Server: server, CAFile: filepath.Join(dir, "none")}, []string{"--certificate-authority", "no such file"}},
		"CA is none":          {Options{Server: server, CAFile: write(t, dir, "1", []byte("hello")...)}, []string{"--certificate-authority", "PEM"}},
		"CA has a key":        {Options{Server: server, CAFile: write(t, dir, "2", append(ca, key...)...)}, []string{"--certificate-authority", "EC PRIVATE KEY"}},
		"CA is broken":        {Options{Server: server, CAFile: write(t, dir, "3", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("a")})...)}, []string{"--certificate-authority", "parse certificate"}},
		"no such context":     {Options{Server: server, Context: "oil"}, []string{`"oil"`, "--context"}},
		"no such user":        {Options{Server: server, User: "bob"}, []string{`"bob"`, "--user"}},
		"user of the context": {Options{Server: server, Context: "nobody"}, []string{`"gone"`, "--context"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := New(config, test.o)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in the error, got: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a credential is in the error: %v", err)
			}
		})
	}
	if _, _, err := New(clientcmdapi.NewConfig(), Options{Server: server}); err == nil || !strings.Contains(err.Error(), "--context") {
		t.Errorf("without a current context: got %v", err)
	}
}
