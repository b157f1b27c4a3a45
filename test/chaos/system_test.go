// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// controllerUser is who the controller is to the API server.
const controllerUser = "system:serviceaccount:tenancy-system:" + deployment.ControllerName

// system is a control plane and a controller in it. There are no webhooks: those of
// Tenants would refuse what the churn does while the controller is dead, and those
// of namespaces do not concern an administrator.
type system struct {
	controlPlane *controlplane.ControlPlane
	controller   *controlplane.Process
	admin        client.WithWatch
}

// newSystem starts a control plane that knows Tenants and what the controller may do.
// The controller does not run.
func newSystem(t *testing.T) *system {
	t.Helper()
	layout, err := deployment.NewLayout(filepath.Join(dir, t.Name()))
	require.NoError(t, err)
	require.NoError(t, layout.Create())
	s := &system{}
	s.controlPlane, err = controlplane.Start(t.Context(), controlplane.Config{Dir: layout.ControlPlane(), LogDir: layout.Logs()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.controlPlane.Stop()) })
	require.NoError(t, deployment.EnsureKubeconfigs(layout, s.controlPlane.Issuer))
	kubectl, err := deployment.NewKubectl(layout)
	require.NoError(t, err)
	for _, manifests := range [][]string{
		{"--filename", "base/rbac/namespace.yaml"}, {"--kustomize", "base/crds"}, {"--kustomize", "base/rbac/controller"},
	} {
		_, err := kubectl.Run(t.Context(), "apply", "--server-side", manifests[0], filepath.Join(layout.Repo, "artifacts", manifests[1]))
		require.NoError(t, err)
	}
	_, err = kubectl.Run(t.Context(), "wait", "--for=condition=Established", "customresourcedefinitions", "--all")
	require.NoError(t, err)

	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, capsulev1beta2.AddToScheme(scheme))
	config, err := s.controlPlane.AdminConfig()
	require.NoError(t, err)
	s.admin, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	s.addController(t, layout)
	return s
}

// addController starts the controller once, and kills it.
func (s *system) addController(t *testing.T, layout deployment.Layout) {
	t.Helper()
	port, err := controlplane.FreePort()
	require.NoError(t, err)
	address := "127.0.0.1:" + strconv.Itoa(port)
	path := *binary
	if !filepath.IsAbs(path) {
		path = filepath.Join(layout.Repo, path)
	}
	s.controller, err = s.controlPlane.AddProcess(t.Context(), controlplane.ProcessSpec{
		Name: deployment.ControllerName,
		Path: path,
		Args: []string{
			"--kubeconfig=" + layout.Kubeconfig(deployment.ControllerName),
			"--controllers=*,-provisioner", "--webhooks=false", "--metrics-bind-address=0", "--health-probe-bind-address=" + address,
			// One that was killed would keep the Lease for a while.
			"--leader-elect=false",
			"--v=2",
		},
		Env:   append(os.Environ(), "GORACE=halt_on_error=1"),
		Ready: func(ctx context.Context) error { return ask(ctx, "http://"+address+"/readyz") },
	})
	require.NoError(t, err)
	require.NoError(t, s.controller.Kill())
}

func ask(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
