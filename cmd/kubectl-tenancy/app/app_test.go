// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
)

// run runs the command to its end.
func run(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := NewCommand(t.Context(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

// configOf writes a kubeconfig of an API server.
func configOf(tb testing.TB, server string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config")
	data := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: alice
clusters: [{name: a, cluster: {server: %q}}]
contexts: [{name: alice, context: {cluster: a, user: alice}}]
users: [{name: alice, user: {token: s3cret}}]
`, server)
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

func TestUsage(t *testing.T) {
	for _, command := range []string{"proxy", "access", "kubeconfig", "version"} {
		stdout, _, err := run(t, command, "--help")
		if err != nil || !strings.Contains(stdout, "kubectl tenancy "+command) || strings.Contains(stdout, "kubectl-tenancy") {
			t.Errorf("%s: %v\n%s", command, err, stdout)
		}
	}
}

func TestErrors(t *testing.T) {
	file := configOf(t, "https://127.0.0.1:1")
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"port and socket":       {[]string{"proxy", "--port=1", "--unix-socket=/none"}, []string{"--unix-socket", "--port", "leave one out"}},
		"no port":               {[]string{"proxy", "--port=65536"}, []string{"--port 65536"}},
		"no patterns":           {[]string{"proxy", "--accept-hosts=(", "--reject-methods=)"}, []string{"--accept-hosts", "--reject-methods"}},
		"no prefix":             {[]string{"proxy", "--port=0", "--api-prefix=k8s"}, []string{"prefix", `"k8s"`}},
		"no kubeconfig":         {[]string{"proxy", "--port=0", "--context=none"}, []string{"read kubeconfig", `"none"`}},
		"no address":            {[]string{"proxy", "--address=none.invalid"}, []string{"listen"}},
		"no format":             {[]string{"access", "-o", "xml"}, []string{"--output", `"xml"`, "wide"}},
		"argument":              {[]string{"access", "nodes"}, []string{"nodes"}},
		"nobody answers":        {[]string{"access"}, []string{"discover tenancy.capsule.io/v1alpha1"}},
		"token":                 {[]string{"kubeconfig", "--token=other"}, []string{"--token", "--user"}},
		"as":                    {[]string{"kubeconfig", "--as=bob"}, []string{"--as ", "--user"}},
		"merge and output":      {[]string{"kubeconfig", "--merge", "--output=none"}, []string{"--merge", "--output"}},
		"no server":             {[]string{"kubeconfig"}, []string{"--server"}},
		"no such context":       {[]string{"kubeconfig", "--server=https://proxy", "--context=none"}, []string{`"none"`, "--context"}},
		"kubeconfig to merge":   {[]string{"kubeconfig", "--server=https://proxy", "--merge", "--context-name=alice", "--user=alice"}, []string{"--context-name"}},
		"subcommand is unknown": {[]string{"nodes"}, []string{"nodes", "kubectl tenancy"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, err := run(t, append(test.args, "--kubeconfig="+file)...)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in the error, got: %v", want, err)
				}
			}
			if strings.Contains(err.Error()+stderr, "s3cret") {
				t.Errorf("a credential is printed: %v, %s", err, stderr)
			}
		})
	}
}

func TestKubeconfig(t *testing.T) {
	file := configOf(t, "https://127.0.0.1:1")
	stdout, stderr, err := run(t, "kubeconfig", "--kubeconfig="+file, "--server=https://proxy", "-n", "oil-production", "--insecure-skip-tls-verify")
	if err != nil || !strings.HasPrefix(stderr, "Warning: ") {
		t.Fatal(err, stderr)
	}
	config, err := clientcmd.Load([]byte(stdout))
	if err != nil {
		t.Fatal(err)
	}
	context := config.Contexts[config.CurrentContext]
	got := []string{config.CurrentContext, context.Namespace, config.Clusters[context.Cluster].Server, config.AuthInfos[context.AuthInfo].Token}
	if diff := cmp.Diff([]string{"alice-tenancy", "oil-production", "https://proxy", "s3cret"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, stderr, err = run(t, "kubeconfig", "--kubeconfig="+file, "--server=https://proxy", "--merge", "--context-name=oil"); err != nil || !strings.Contains(stderr, file) {
		t.Fatal(err, stderr)
	}
	if config, err = clientcmd.LoadFromFile(file); err != nil || config.Contexts["oil"] == nil || config.CurrentContext != "alice" {
		t.Errorf("got %v, %v", config, err)
	}
}

// TestProxy has who asks be the user of the kubeconfig, or whom that impersonates.
func TestProxy(t *testing.T) {
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = fmt.Fprint(w, req.Header.Get("Authorization"), " as ", req.Header.Get("Impersonate-User")) //nolint:gosec // no browser reads it
	}))
	t.Cleanup(upstream.Close)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	cmd := NewCommand(ctx, genericiooptions.IOStreams{In: strings.NewReader(""), Out: in, ErrOut: io.Discard})
	// The flag is that of kubectl: the server's certificate is nobody's here.
	cmd.SetArgs([]string{"proxy", "--port=0", "--kubeconfig=" + configOf(t, upstream.URL), "--insecure-skip-tls-verify", "--as=bob"})
	ended := make(chan error, 1)
	go func() { ended <- cmd.Execute() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Starting to serve on ")
	if err != nil || !ok {
		t.Fatalf("got %q, %v", line, err)
	}
	for header, want := range map[string]string{"": "Bearer s3cret as bob", "carol": "Bearer s3cret as carol"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("Impersonate-User", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("want %q, got %q, %v", want, body, err)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestVersion(t *testing.T) {
	if stdout, _, err := run(t, "version"); err != nil || !strings.HasPrefix(stdout, "v") {
		t.Errorf("got %q, %v", stdout, err)
	}
}
