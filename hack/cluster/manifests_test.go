// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tenancy.capsule.io/test/framework/deployment"
)

// requireValidManifests has the API server judge everything in artifacts that is there
// to be applied.
func requireValidManifests(t *testing.T, l deployment.Layout) {
	t.Helper()
	kubectl, err := deployment.NewKubectl(l)
	require.NoError(t, err)
	for _, dir := range kustomizations(t, filepath.Join(l.Repo, "artifacts")) {
		rendered, err := kubectl.Run(t.Context(), "kustomize", dir)
		require.NoError(t, err)
		// Its kinds are not there.
		if bytes.Contains(rendered, []byte("cert-manager.io/v1\n")) {
			continue
		}
		assert.NoError(t, kubectl.DryRun(t.Context(), dir), dir)
	}
}

// kustomizations returns the directories that are there to be applied: those of
// artifacts, and one for each component, on top of overlays/proxy.
func kustomizations(t testing.TB, artifacts string) []string {
	t.Helper()
	dirs := []string{filepath.Join(artifacts, "base")}
	for _, overlay := range names(t, filepath.Join(artifacts, "overlays")) {
		dirs = append(dirs, filepath.Join(artifacts, "overlays", overlay))
	}
	// All that callers need, in the order in which the components say that they go.
	everything := []string{"proxy-certificates", "proxy-tls", "proxy-loadbalancer", "proxy-hostport"}
	dirs = append(dirs, withComponents(t, artifacts, everything...))
	for _, component := range names(t, filepath.Join(artifacts, "components")) {
		// overlays/proxy has it.
		if component != "proxy" {
			dirs = append(dirs, withComponents(t, artifacts, component))
		}
	}
	return dirs
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := make([]string, 0, len(entries))
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

// withComponents returns an overlay of overlays/proxy with components.
func withComponents(t testing.TB, artifacts string, components ...string) string {
	t.Helper()
	dir := t.TempDir()
	// Kustomize takes no absolute paths.
	relative, err := filepath.Rel(dir, artifacts)
	require.NoError(t, err)
	var kustomization bytes.Buffer
	fmt.Fprintf(&kustomization, "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- %s\ncomponents:\n", filepath.Join(relative, "overlays", "proxy"))
	for _, component := range components {
		fmt.Fprintf(&kustomization, "- %s\n", filepath.Join(relative, "components", component))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), kustomization.Bytes(), 0o600))
	return dir
}
