// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

const (
	// owner owns the Tenants.
	owner = "alice"
	// users is the group of capsule users.
	users = "capsule.clastix.io"
	// soon is how long it may take until the one end of a stream hears of the other's.
	soon = 10 * time.Second
)

// kubectlOf returns the kubectl of a user, who asks the proxy.
type kubectlOf func(tb testing.TB, user string, groups ...string) *framework.Kubectl

// forEachKubectl runs a test by each way in which users show who they are.
func forEachKubectl(t *testing.T, test func(t *testing.T, kubectl kubectlOf)) {
	t.Helper()
	t.Run("certificate", func(t *testing.T) { test(t, proxy.Kubectl) })
	t.Run("token", func(t *testing.T) { test(t, proxy.TokenKubectl) })
}

// stage is a Tenant of the owner's with a namespace and a pod in it that runs.
type stage struct {
	namespace, node, pod string
	kubelet              *kubelet
}

// newStage returns one for the time of a test. All that is on it has the tenant's name.
func newStage(t testing.TB, tenant string) *stage {
	t.Helper()
	s := &stage{namespace: tenant + "-web", node: tenant, pod: tenant, kubelet: startKubelet(t, tenant)}
	createTenant(t, tenant)
	namespaces := framework.ClientOf(t, proxy.Config(system.Config(t, owner, users)))
	require.NoError(t, namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))
	s.awaitAccess(t, owner, "create", "pods", "exec")
	runPod(t, s.node, s.namespace, s.pod)
	return s
}

// createTenant makes a Tenant of the owner's for the time of a test.
func createTenant(t testing.TB, name string) {
	t.Helper()
	system.CreateTenant(t, name, capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{{
		CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: owner}},
	}}})
}

// awaitAccess waits until somebody may do something in the namespace.
func (s *stage) awaitAccess(t testing.TB, user, verb, resource, subresource string) {
	t.Helper()
	system.AwaitAccess(t, user, []string{users}, true, authorizationv1.ResourceAttributes{
		Verb: verb, Resource: resource, Subresource: subresource, Namespace: s.namespace,
	})
}

// receive returns what comes next. It has to come soon.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case got, ok := <-from:
		require.True(t, ok, "there is an end where %s should be", what)
		return got
	case <-time.After(soon):
		require.FailNow(t, what+" does not come")
		panic("not reached")
	}
}

// send gives something to somebody, who has to take it soon.
func send[T any](t testing.TB, to chan<- T, what T) {
	t.Helper()
	select {
	case to <- what:
	case <-time.After(soon):
		require.FailNow(t, "nobody takes it")
	}
}

// compare holds that there is no difference.
func compare[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
