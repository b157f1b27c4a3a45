// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// manifest is what krew reads of a plugin, see sigs.k8s.io/krew/pkg/index.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// TestKrewManifest has krew find a binary that kubectl runs as "kubectl tenancy", for
// every platform, and hack/krew.sh everything that it fills in.
func TestKrewManifest(t *testing.T) {
	data, err := os.ReadFile("../../artifacts/krew/tenancy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got manifest
	if err := yaml.UnmarshalStrict(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(
		[]string{"krew.googlecontainertools.github.com/v1alpha2", "Plugin", "tenancy", "@VERSION@"},
		[]string{got.APIVersion, got.Kind, got.Metadata.Name, got.Spec.Version},
	); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := got.Spec.ShortDescription; s == "" || len(s) > 50 {
		t.Errorf("krew shows 50 characters of %q", s)
	}
	var want []platform
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			p := platform{
				URI: "@URL@/kubectl-tenancy_@VERSION@_" + goos + "_" + arch + ".tar.gz", SHA256: "@SHA256_" + goos + "_" + arch + "@", Bin: "kubectl-tenancy",
			}
			if goos == "windows" {
				p.Bin += ".exe"
			}
			p.Selector.MatchLabels = map[string]string{"os": goos, "arch": arch}
			want = append(want, p)
		}
	}
	if diff := cmp.Diff(want, got.Spec.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}
