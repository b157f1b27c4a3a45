// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// read returns a file of artifacts/components.
func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS("../../../artifacts/components"), file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// deployment returns the Deployment of the manifests, and the options that its arguments
// and further ones make.
func deployment(t *testing.T, further ...string) (*appsv1.Deployment, *Options) {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict(read(t, "proxy/deployment.yaml"), d); err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	set := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	for _, fs := range o.Flags().FlagSets {
		set.AddFlagSet(fs)
	}
	if err := set.Parse(append(d.Spec.Template.Spec.Containers[0].Args, further...)); err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return d, o
}

// added returns the arguments that a component of the manifests adds or replaces. They
// come later than those of the Deployment here, and so count.
func added(t *testing.T, component string) []string {
	t.Helper()
	var kustomization struct {
		Patches []struct {
			Target struct{ Kind string }
			Patch  string
		}
	}
	if err := yaml.Unmarshal(read(t, component+"/kustomization.yaml"), &kustomization); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, patch := range kustomization.Patches {
		if patch.Target.Kind != "Deployment" {
			continue
		}
		var operations []struct {
			Op, Path string
			Value    any
		}
		if err := yaml.Unmarshal([]byte(patch.Patch), &operations); err != nil {
			t.Fatal(err)
		}
		for _, operation := range operations {
			if value, ok := operation.Value.(string); ok && operation.Op != "test" && strings.Contains(operation.Path, "/args/") {
				args = append(args, value)
			}
		}
	}
	if len(args) == 0 {
		t.Fatalf("no arguments in %s", component)
	}
	return args
}

func TestManifestsNamePortsThatAreServed(t *testing.T) {
	d, o := deployment(t)
	want := map[string]int{"proxy": o.ListeningPort, "metrics": portOf(t, o.MetricsAddress), "health": portOf(t, o.HealthAddress)}
	container := d.Spec.Template.Spec.Containers[0]
	for _, port := range container.Ports {
		if int(port.ContainerPort) != want[port.Name] {
			t.Errorf("port %s is %d, want %d", port.Name, port.ContainerPort, want[port.Name])
		}
		delete(want, port.Name)
	}
	if len(want) != 0 {
		t.Errorf("no ports for %v", want)
	}
	if got := container.ReadinessProbe.HTTPGet; got.Port.String() != "health" || got.Path != "/readyz" {
		t.Errorf("readiness is asked at %v", got)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestManifestsGiveNoCredential holds that what is deployed without the component
// proxy-certificates neither accepts client certificates nor has a token.
func TestManifestsGiveNoCredential(t *testing.T) {
	d, o := deployment(t)
	if o.acceptsCertificates() {
		t.Error("client certificates are accepted")
	}
	if o.Kubeconfig == "" {
		t.Error("the API server is looked for by the token of the pod")
	}
	if mounts := d.Spec.Template.Spec.AutomountServiceAccountToken; mounts == nil || *mounts {
		t.Error("the pod has a token")
	}
	if _, o = deployment(t, added(t, "proxy-certificates")...); !o.acceptsCertificates() {
		t.Error("with proxy-certificates client certificates are not accepted")
	}
}

func TestManifestsMountTheCertificate(t *testing.T) {
	_, o := deployment(t, added(t, "proxy-tls")...)
	const directory = "/etc/tenancy-proxy/tls/"
	if !slices.Equal([]string{o.CertPath, o.KeyPath}, []string{directory + "tls.crt", directory + "tls.key"}) {
		t.Errorf("the certificate is read from %s and %s", o.CertPath, o.KeyPath)
	}
}
