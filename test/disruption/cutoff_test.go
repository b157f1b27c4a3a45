// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// staleAfter is when a server does not answer any more from what it knew.
const staleAfter = 3 * time.Minute

// TestCutOffForLong cuts a tenancy-apiserver off from RBAC, but not from the
// namespaces, until what it knows is too old to be told. That takes minutes, in
// which the other tests run: it is the first, and goes on when they are through. It has a server
// and a line to the API server of its own.
func TestCutOffForLong(t *testing.T) {
	w := newWorld(t, "stale")
	ctx, ann := t.Context(), w.ann.name
	line := newForwarder(t, 0, system.ControlPlane.Server())
	server := identity{name: "stale-server"}
	kubeconfig := w.grantServer(t, server, line.url())
	_, url, err := system.AddServer(ctx, "tenancy-apiserver-stale", kubeconfig...)
	require.NoError(t, err)
	for i := range 4 {
		require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(i), ann, "view"))
	}
	direct := func() *rest.Config {
		config := system.DirectConfigOf(t, w.ann.name, w.ann.groups...)
		config.Host = url
		return config
	}
	for _, k := range []kind{informer, listInformer, controllerRuntime, protobufInformer} {
		w.start(t, namespaces, k, direct(), w.ann, k.name, selection{})
	}
	w.settle(t, "before the cut")
	answers := observe(t, direct(), namespaces)

	restore := w.withdrawRBAC(t, w.name+"-server-rbac", server)
	line.cut()
	cut := time.Now()
	// Access as the server knows it still counts, and objects still come.
	require.NoError(t, w.putLabel(ctx, namespaces, w.objectName(0)))
	w.settle(t, "after the cut")
	require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(1), ann, "view"))
	require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(5), ann, "view"))
	before := answers.count("200")
	answers.await(t, "200")
	require.Zero(t, answers.count(unready), "%d lists after the cut: %s", answers.count("200")-before, answers)
	held := w.informersHold()

	t.Parallel() // goes on after the tests that are not

	answers.awaitWithin(t, unready, time.Until(cut.Add(staleAfter+time.Minute)))
	listed := answers.count("200")
	answers.await(t, unready)
	require.Equal(t, listed, answers.count("200"), "lists by a server that has not heard of RBAC for too long: %s", answers)
	require.Equal(t, held, w.informersHold(), "informers that nobody told anything")
	t.Logf("%s after the cut: %s", time.Since(cut).Round(time.Second), answers)
	restore()
	w.settle(t, "with the right to read RBAC")
	answers.verify(t)
	w.verify(t)
}

// TestCutOffAtStart starts a tenancy-apiserver that may not read RBAC. It does
// not answer, and nobody takes that for having lost everything.
func TestCutOffAtStart(t *testing.T) {
	w := newWorld(t, "cutoff")
	ctx, ann := t.Context(), w.ann.name
	for i := range 4 {
		require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(i), ann, "view"))
	}
	require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(0), w.ben.name, "view"))
	w.follow(t)

	answers := observe(t, system.Config(t, w.ann.name, w.ann.groups...), namespaces)
	restore := w.withdrawRBAC(t, "tenancy-apiserver", serverIdentity())
	before := w.informersHold()
	require.NoError(t, system.Server.Kill())
	started := make(chan error, 1)
	go func() { started <- system.Server.Start(context.WithoutCancel(ctx)) }()
	// What the server does not get to know.
	require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(1), ann, "view"))
	require.NoError(t, w.toggleRoleBindingTo(ctx, w.objectName(5), ann, "view"))
	answers.await(t, unready)
	require.Equal(t, before, w.informersHold(), "informers that nobody told anything")
	listed := answers.count("200")
	answers.await(t, unready)
	require.Equal(t, listed, answers.count("200"), "lists by a server that knows nothing of RBAC: %s", answers)
	restore()
	require.NoError(t, <-started)
	w.settle(t, "with the right to read RBAC")
	answers.verify(t)
	w.verify(t)
}

// informersHold returns what the clients hold that keep it while they are not
// answered.
func (w *world) informersHold() map[string]objects {
	held := map[string]objects{}
	for _, c := range w.clients {
		if !strings.HasPrefix(c.name, "kubectl") {
			held[c.name] = c.held()
		}
	}
	return held
}

// withdrawRBAC takes from a server the right to read RBAC, which a ClusterRole
// gives, and returns when the API server has noticed. Watches under way go on.
func (w *world) withdrawRBAC(t *testing.T, clusterRole string, server identity) (restore func()) {
	t.Helper()
	roles := w.admin.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), clusterRole, metav1.GetOptions{})
	require.NoError(t, err)
	rules := role.Rules
	var others []rbacv1.PolicyRule
	for _, rule := range rules {
		if rule.APIGroups[0] != rbacv1.GroupName {
			others = append(others, rule)
		}
	}
	set := func(ctx context.Context, rules []rbacv1.PolicyRule) error {
		return w.do(ctx, "change rules of ClusterRole "+clusterRole, func(ctx context.Context) error {
			role, err := roles.Get(ctx, clusterRole, metav1.GetOptions{})
			if err != nil {
				return err
			}
			role.Rules = rules
			_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
			return err
		})
	}
	require.NoError(t, set(t.Context(), others))
	restore = sync.OnceFunc(func() { require.NoError(t, set(context.WithoutCancel(t.Context()), rules)) })
	t.Cleanup(restore)
	require.Eventually(t, func() bool {
		review, err := w.admin.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: server.name, Groups: append(server.groups, "system:authenticated"),
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "watch", Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"},
			},
		}, metav1.CreateOptions{})
		return err == nil && !review.Status.Allowed
	}, settleWithin, settlePeriod)
	return restore
}

// grantServer gives a user the rights of tenancy-apiserver, and returns the
// arguments with which one runs as that user and asks an API server at url.
func (w *world) grantServer(t *testing.T, server identity, url string) []string {
	t.Helper()
	ctx, rbac := t.Context(), w.admin.RbacV1()
	original, err := rbac.ClusterRoles().Get(ctx, "tenancy-apiserver", metav1.GetOptions{})
	require.NoError(t, err)
	subjects := w.subjects(server.name)
	bind := func(role string) {
		_, err := rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: w.meta("", server.name+"-"+role), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err = rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: w.meta("", w.name+"-server-rbac"), Rules: original.Rules}, metav1.CreateOptions{})
	require.NoError(t, err)
	bind(w.name + "-server-rbac")
	bind("system:auth-delegator")
	for namespace, role := range map[string]string{"kube-system": "extension-apiserver-authentication-reader", "tenancy-system": "tenancy-apiserver"} {
		name := server.name + "-" + role
		_, err := rbac.RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: w.meta(namespace, name), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, rbac.RoleBindings(namespace).Delete(context.WithoutCancel(ctx), name, metav1.DeleteOptions{}))
		})
	}
	return kubeconfigArgs(t, server, url)
}

// serverIdentity is who tenancy-apiserver is.
func serverIdentity() identity {
	return identity{
		name:   "system:serviceaccount:tenancy-system:tenancy-apiserver",
		groups: []string{"system:serviceaccounts", "system:serviceaccounts:tenancy-system"},
	}
}

// kubeconfigArgs returns the arguments with which tenancy-apiserver runs as a
// user and asks an API server at url.
func kubeconfigArgs(t *testing.T, server identity, url string) []string {
	t.Helper()
	data, err := system.ControlPlane.Kubeconfig(server.name, server.groups...)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, bytes.ReplaceAll(data, []byte(system.ControlPlane.Server()), []byte(url)), 0o600))
	return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
}
