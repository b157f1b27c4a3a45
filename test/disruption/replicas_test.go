// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

const (
	// replicaInformers is how many informers there are, half of them behind the API
	// server.
	replicaInformers = 50
	// replicaDelay is by how much one replica lags behind the API server.
	replicaDelay = 250 * time.Millisecond
	// replicaEdits is how many edits are made while both replicas run.
	replicaEdits = 30
)

// TestReplicas kills one of two replicas of tenancy-apiserver, in turn, while edits
// go on. Clients go to and fro between the two, one of which hears of everything
// later than the other.
func TestReplicas(t *testing.T) {
	w := newWorld(t, "replicas")
	line := newForwarder(t, replicaDelay, system.ControlPlane.Server())
	other, url, err := system.AddServer(t.Context(), "tenancy-apiserver-2", kubeconfigArgs(t, serverIdentity(), line.url())...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, system.ControlPlane.RemoveProcess(other)) })
	service := newForwarder(t, 0, system.URL, url)
	w.serveAt(t, service.port())

	w.stir(t)
	for i := range replicaInformers {
		user := w.oneOf(i)
		config := system.Config(t, user.name, user.groups...)
		if i%2 == 1 {
			config.Host = service.url() // past the API server, on a connection of its own
		}
		w.startInformer(t, i, config, user)
	}
	w.settle(t, "before the first edit")

	during := w.editInBackground(t, 0)
	for i := range *kills {
		replica := []*controlplane.Process{system.Server, other}[i%2]
		w.log.note("kill %s", replica.Name())
		service.setUp(i%2, false)
		require.NoError(t, replica.Kill())
		require.NoError(t, replica.Start(t.Context()))
		service.setUp(i%2, true)
		w.log.note("%s is back", replica.Name())
		during.await(t, int(during.made.Load()+replicaEdits))
	}
	during.stop(t)
	w.settle(t, "after the last edit")
	w.verify(t)
}

// serveAt has the API server ask another port for the views, until the test is
// over.
func (w *world) serveAt(t *testing.T, port int) {
	t.Helper()
	config := system.AdminConfig(t)
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	services := client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	service, err := services.Get(t.Context(), deployment.APIServiceName, metav1.GetOptions{})
	require.NoError(t, err)
	spec := service.Object["spec"].(map[string]any)["service"].(map[string]any)
	set := func(ctx context.Context, port any) {
		patch := fmt.Sprintf(`{"spec":{"service":{"port":%v}}}`, port)
		_, err := services.Patch(ctx, deployment.APIServiceName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		require.NoError(t, err)
		require.NoError(t, deployment.AwaitAPIService(ctx, config))
	}
	set(t.Context(), port)
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), spec["port"]) })
}
