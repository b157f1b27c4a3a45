// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

func read(tb testing.TB, file string) string {
	tb.Helper()
	data, err := os.ReadFile(file) //nolint:gosec // it is the test's own
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestWrite(t *testing.T) {
	config, _, dir := loaded(t)
	made, _, err := New(config, Options{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "made")
	if err := Write(file, made); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode() & fs.ModePerm; got != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v", got)
	}
	data := read(t, file)
	if diff := cmp.Diff(written(t, made), data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := Write(file, config); err == nil || !strings.Contains(err.Error(), "--output") {
		t.Errorf("over a file: got %v", err)
	}
	if diff := cmp.Diff(data, read(t, file)); diff != "" {
		t.Errorf("a file was changed (-before +after):\n%s", diff)
	}
	if err := Write(filepath.Join(dir, "none", "made"), made); err == nil || !strings.Contains(err.Error(), "--output") {
		t.Errorf("without its directory: got %v", err)
	}
}

// TestMerge adds a context twice, and loses nothing that is there.
func TestMerge(t *testing.T) {
	_, rules, dir := loaded(t)
	before, err := clientcmd.LoadFromFile(rules.ExplicitPath)
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := authority(t)
	o := Options{Server: server, CAFile: write(t, dir, "ca.crt", ca...), Context: "by-file"}
	for range 2 {
		config, err := rules.Load()
		if err != nil {
			t.Fatal(err)
		}
		made, _, err := New(config, o)
		if err != nil {
			t.Fatal(err)
		}
		file, err := Merge(rules, made)
		if err != nil || file != rules.ExplicitPath {
			t.Fatalf("got %q, %v", file, err)
		}
	}
	got, err := clientcmd.LoadFromFile(rules.ExplicitPath)
	if err != nil {
		t.Fatal(err)
	}
	cluster, context := got.Clusters["by-file-tenancy"], got.Contexts["by-file-tenancy"]
	if cluster == nil || context == nil {
		t.Fatalf("got %v", got)
	}
	if diff := cmp.Diff([]string{server, string(ca), "by-file-tenancy", "certificate"}, []string{cluster.Server, string(cluster.CertificateAuthorityData), context.Cluster, context.AuthInfo}); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	// Everything else, relative paths and the current context included, is what it was.
	delete(got.Clusters, "by-file-tenancy")
	delete(got.Contexts, "by-file-tenancy")
	if diff := cmp.Diff(before, got); diff != "" {
		t.Errorf("the rest (-want +got):\n%s", diff)
	}
}

// TestMergeOfSeveral has a kubeconfig be of several files, of which one is written.
func TestMergeOfSeveral(t *testing.T) {
	_, first, dir := loaded(t)
	second := write(t, dir, "second", []byte("apiVersion: v1\nkind: Config\nusers:\n- name: bob\n  user: {tokenFile: bob.token}\ncontexts:\n- name: bob\n  context: {cluster: native, user: bob}\n")...)
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: []string{first.ExplicitPath, second}}
	beside := read(t, second)
	config, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := New(config, Options{Server: server, Context: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := made.AuthInfos["bob"].TokenFile, filepath.Join(dir, "bob.token"); got != want {
		t.Errorf("token file: want %s, got %s", want, got)
	}
	file, err := Merge(rules, made)
	if err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.LoadFromFile(file)
	if err != nil || got.Contexts["bob-tenancy"] == nil || got.Clusters["bob-tenancy"] == nil {
		t.Errorf("%s: got %v, %v", file, got, err)
	}
	if diff := cmp.Diff(beside, read(t, second)); file != second && diff != "" {
		t.Errorf("the other file was changed (-before +after):\n%s", diff)
	}
}

func TestMergeLeavesOthers(t *testing.T) {
	config, rules, _ := loaded(t)
	before := read(t, rules.ExplicitPath)
	made, _, err := New(config, Options{Server: server, ContextName: "native"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(rules, made); err == nil || !strings.Contains(err.Error(), "--context-name") {
		t.Errorf("got %v", err)
	}
	// Of the same cluster, but another user.
	if made, _, err = New(config, Options{Server: server, ContextName: "by-file"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(rules, made); err == nil || !strings.Contains(err.Error(), "context \"by-file\"") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, read(t, rules.ExplicitPath)); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
}
