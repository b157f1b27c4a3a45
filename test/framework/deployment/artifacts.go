// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// APIServiceName is the name that the server is registered by.
	APIServiceName = "v1alpha1.tenancy.capsule.io"
	// GroupVersion is what it serves.
	GroupVersion = "tenancy.capsule.io/v1alpha1"

	// tenantsDefinition is the name of the kind whose versions the controller converts.
	tenantsDefinition = "tenants.capsule.clastix.io"

	apiServicePath  = "/apis/apiregistration.k8s.io/v1/apiservices/" + APIServiceName
	fieldManager    = "capsule-tenancy"
	availableWithin = time.Minute
)

// Kubectl runs the control plane's own kubectl as its administrator.
type Kubectl struct {
	path   string
	layout Layout
}

// NewKubectl returns the kubectl of a deployment, or an error that says how to get one.
func NewKubectl(l Layout) (*Kubectl, error) {
	path, err := controlplane.FindBinary("", "kubectl")
	if err != nil {
		return nil, err
	}
	return &Kubectl{path: path, layout: l}, nil
}

// Run returns what kubectl wrote.
func (k *Kubectl) Run(ctx context.Context, args ...string) ([]byte, error) {
	// The cache of discovery is keyed by host and port: in the home directory
	// it would mix up the clusters that had this one.
	args = append([]string{"--kubeconfig", k.layout.Kubeconfig(AdminName), "--cache-dir", k.layout.KubectlCache()}, args...)
	out, err := exec.CommandContext(ctx, k.path, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// Host is what only the host knows of the servers on it.
type Host struct {
	// CA signed the certificate of tenancy-apiserver. It is not used with a
	// controller, which makes certificates of its own.
	CA []byte
	// ServerPort is that of tenancy-apiserver.
	ServerPort int
	// WebhookPort is that of the controller's webhooks; 0 if there is none.
	WebhookPort int
}

// ApplyHost applies the overlay for servers on this host.
func (k *Kubectl) ApplyHost(ctx context.Context, artifacts string, h Host, out io.Writer) error {
	if err := render(k.layout.Rendered(), artifacts, h); err != nil {
		return err
	}
	answer, err := k.Run(ctx, "apply", "--server-side", "--force-conflicts",
		"--field-manager", fieldManager, "--kustomize", k.layout.Rendered())
	for line := range bytes.Lines(answer) {
		fmt.Fprintf(out, "  %s", line) //nolint:errcheck // nobody is left to be told
	}
	return err
}

// DryRun has the API server judge the manifests of a directory.
func (k *Kubectl) DryRun(ctx context.Context, dir string) error {
	_, err := k.Run(ctx, "apply", "--server-side", "--force-conflicts", "--dry-run=server",
		"--field-manager", fieldManager, "--kustomize", dir)
	return err
}

// render writes a kustomization that completes the overlay.
func render(dir, artifacts string, h Host) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	// Kustomize takes no absolute paths.
	overlay, err := filepath.Rel(dir, filepath.Join(artifacts, "overlays", h.overlay()))
	if err != nil {
		return fmt.Errorf("find overlay: %w", err)
	}
	kustomization, err := h.kustomization(overlay)
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(kustomization)
	if err != nil {
		return fmt.Errorf("encode kustomization: %w", err)
	}
	data = append([]byte("# Written by hack/cluster on every start.\n"), data...)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), data, 0o600); err != nil {
		return fmt.Errorf("write kustomization: %w", err)
	}
	return nil
}

// overlay returns the name of the overlay that h completes.
func (h Host) overlay() string {
	if h.WebhookPort == 0 {
		return "host"
	}
	return "host-controller"
}

// kustomization returns what completes the overlay.
func (h Host) kustomization(overlay string) (map[string]any, error) {
	apiService := []operation{{"add", "/spec/service/port", h.ServerPort}}
	if h.WebhookPort == 0 {
		apiService = append(apiService, operation{"add", "/spec/caBundle", base64.StdEncoding.EncodeToString(h.CA)})
	}
	patches := []map[string]any{}
	replacements := []map[string]any{}
	add := func(kind, name string, operations ...operation) error {
		patch, err := json.MarshalIndent(operations, "", "  ")
		if err != nil {
			return fmt.Errorf("encode patch: %w", err)
		}
		patches = append(patches, map[string]any{
			"target": map[string]string{"kind": kind, "name": name}, "patch": string(patch),
		})
		return nil
	}
	err := add("APIService", APIServiceName, apiService...)
	if h.WebhookPort != 0 {
		err = errors.Join(err, add("Service", ControllerName, operation{"replace", "/spec/ports/0/port", h.WebhookPort}))
		// There are many webhooks, whose ports are that of the Service.
		replacements = append(replacements, map[string]any{
			"source": map[string]string{"kind": "Service", "name": ControllerName, "fieldPath": "spec.ports.0.port"},
			"targets": []map[string]any{
				replaced("ValidatingWebhookConfiguration", ControllerName, "webhooks.*.clientConfig.service.port"),
				replaced("MutatingWebhookConfiguration", ControllerName, "webhooks.*.clientConfig.service.port"),
				replaced("CustomResourceDefinition", tenantsDefinition, "spec.conversion.webhook.clientConfig.service.port"),
			},
		})
	}
	return map[string]any{
		"apiVersion":   "kustomize.config.k8s.io/v1beta1",
		"kind":         "Kustomization",
		"resources":    []string{overlay},
		"patches":      patches,
		"replacements": replacements,
	}, err
}

// operation is one of a JSON patch.
type operation struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value"`
}

// replaced is a field that a replacement sets, whether it is there or not.
func replaced(kind, name, path string) map[string]any {
	return map[string]any{
		"select":     map[string]string{"kind": kind, "name": name},
		"fieldPaths": []string{path},
		"options":    map[string]bool{"create": true},
	}
}

// apiService is what is of interest in an APIService.
type apiService struct {
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

// AwaitAPIService waits until the API server passes on requests for the group,
// and tells clients about it in its discovery document.
func AwaitAPIService(ctx context.Context, config *rest.Config) error {
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
			return list.GroupVersion == GroupVersion && len(list.APIResources) > 0
		}) {
			state = fmt.Sprintf("%s is not in the discovery document yet: %v", GroupVersion, listErr)
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("await APIService %s: %w: %s", APIServiceName, err, state)
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
