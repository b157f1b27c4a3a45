// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"tenancy.capsule.io/test/framework/controlplane"
)

// TestUpstreamGone asks a proxy whose API server is not there.
func TestUpstreamGone(t *testing.T) {
	kubeconfig, err := system.ControlPlane.Kubeconfig("tenancy-proxy")
	require.NoError(t, err)
	config, err := clientcmd.Load(kubeconfig)
	require.NoError(t, err)
	port, err := controlplane.FreePort()
	require.NoError(t, err)
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	dir := t.TempDir()
	file, ca := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "ca.crt")
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	require.NoError(t, os.WriteFile(ca, system.ControlPlane.CACert(), 0o600))
	alone, err := system.AddProxy(t.Context(), "bin/race/tenancy-proxy", "tenancy-proxy-alone", "--kubeconfig="+file, "--client-ca-file="+ca)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, system.ControlPlane.RemoveProcess(alone.Process)) })

	for name, config := range map[string]*rest.Config{
		"certificate": system.Config(t, owner, users), "token": system.TokenConfig(t, owner, users),
	} {
		t.Run(name, func(t *testing.T) {
			c := &caller{newHTTPClient(t, alone.Config(config), 2), alone.URL()}
			for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf} {
				// What a view can answer, what none can, and what becomes a stream.
				for _, path := range []string{"/api/v1/namespaces", "/api/v1/namespaces/oil-web/pods", "/api/v1/namespaces?watch=true"} {
					resp := c.send(t, t.Context(), http.MethodGet, path, nil, "Accept", mediaType)
					require.Equal(t, mediaType, resp.Header.Get("Content-Type"), path)
					object, _, err := scheme.Codecs.UniversalDeserializer().Decode(resp.body, nil, nil)
					require.NoError(t, err)
					status, ok := object.(*metav1.Status)
					require.True(t, ok, "%T", object)
					compare(t, path, []any{http.StatusServiceUnavailable, int32(http.StatusServiceUnavailable), metav1.StatusReasonServiceUnavailable}, []any{resp.StatusCode, status.Code, status.Reason})
				}
			}
		})
	}
}
