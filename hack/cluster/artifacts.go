// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	apiServiceName  = "v1alpha1.tenancy.capsule.io"
	apiServicePath  = "/apis/apiregistration.k8s.io/v1/apiservices/" + apiServiceName
	groupVersion    = "tenancy.capsule.io/v1alpha1"
	fieldManager    = "capsule-tenancy"
	availableWithin = time.Minute
)

// kubectl runs the control plane's own kubectl as its administrator.
type kubectl struct {
	path string
	l    layout
}

func newKubectl(l layout) (*kubectl, error) {
	path, err := controlplane.FindBinary("", "kubectl")
	if err != nil {
		return nil, err
	}
	return &kubectl{path: path, l: l}, nil
}

// run returns what kubectl wrote.
func (k *kubectl) run(ctx context.Context, args ...string) ([]byte, error) {
	// The cache of discovery is keyed by host and port: in the home directory
	// it would mix up the clusters that had this one.
	args = append([]string{"--kubeconfig", k.l.kubeconfig(adminName), "--cache-dir", k.l.kubectlCache()}, args...)
	out, err := exec.CommandContext(ctx, k.path, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// applyHost applies the overlay for a server on this host, with what only the
// host knows: the CA of its certificate and its port.
func (k *kubectl) applyHost(ctx context.Context, artifacts string, ca []byte, port int, out printer) error {
	if err := render(k.l.rendered(), artifacts, ca, port); err != nil {
		return err
	}
	answer, err := k.run(ctx, "apply", "--server-side", "--force-conflicts",
		"--field-manager", fieldManager, "--kustomize", k.l.rendered())
	for line := range bytes.Lines(answer) {
		out.printf("  %s", line)
	}
	return err
}

// dryRunBase has the API server judge the manifests for use in a cluster.
func (k *kubectl) dryRunBase(ctx context.Context, artifacts string) error {
	_, err := k.run(ctx, "apply", "--server-side", "--force-conflicts", "--dry-run=server",
		"--field-manager", fieldManager, "--kustomize", filepath.Join(artifacts, "base"))
	return err
}

// render writes a kustomization that completes the overlay.
func render(dir, artifacts string, ca []byte, port int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	// Kustomize takes no absolute paths.
	overlay, err := filepath.Rel(dir, filepath.Join(artifacts, "overlays", "host"))
	if err != nil {
		return fmt.Errorf("find overlay: %w", err)
	}
	patch, err := json.MarshalIndent([]map[string]any{
		{"op": "add", "path": "/spec/caBundle", "value": base64.StdEncoding.EncodeToString(ca)},
		{"op": "add", "path": "/spec/service/port", "value": port},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1",
		"kind":       "Kustomization",
		"resources":  []string{overlay},
		"patches": []map[string]any{{
			"target": map[string]string{"kind": "APIService", "name": apiServiceName},
			"patch":  string(patch),
		}},
	})
	if err != nil {
		return fmt.Errorf("encode kustomization: %w", err)
	}
	data = append([]byte("# Written by hack/cluster on every start.\n"), data...)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), data, 0o600); err != nil {
		return fmt.Errorf("write kustomization: %w", err)
	}
	return nil
}

// apiService is what is of interest in an APIService.
type apiService struct {
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

// awaitAPIService waits until the API server passes on requests for the group,
// and tells clients about it in its discovery document.
func awaitAPIService(ctx context.Context, issuer *controlplane.Issuer) error {
	config, err := issuer.AdminConfig()
	if err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	state := "not asked yet"
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, availableWithin, true, func(ctx context.Context) (bool, error) {
		var available bool
		if available, state = availability(client.RESTClient().Get().AbsPath(apiServicePath).Do(ctx).Raw()); !available {
			return false, nil
		}
		// An error is about some group or other; ours counts.
		_, lists, listErr := client.ServerGroupsAndResources()
		if !slices.ContainsFunc(lists, func(list *metav1.APIResourceList) bool {
			return list.GroupVersion == groupVersion && len(list.APIResources) > 0
		}) {
			state = fmt.Sprintf("%s is not in the discovery document yet: %v", groupVersion, listErr)
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("await APIService %s: %w: %s", apiServiceName, err, state)
	}
	return nil
}

// availability reads the condition Available, and what it says.
func availability(data []byte, err error) (available bool, state string) {
	var service apiService
	if err == nil {
		err = json.Unmarshal(data, &service)
	}
	if err != nil {
		return false, err.Error()
	}
	for _, condition := range service.Status.Conditions {
		if condition.Type == "Available" {
			return condition.Status == metav1.ConditionTrue, condition.Reason + ": " + condition.Message
		}
	}
	return false, "it has no condition Available"
}
