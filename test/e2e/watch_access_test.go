// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"tenancy.capsule.io/pkg/registry"
)

// TestWatchFollowsAccess grants and revokes in every way while a watch is open.
func TestWatchFollowsAccess(t *testing.T) {
	t.Parallel()
	const name = "watch-access"
	rbac := system.Admin(t).RbacV1()
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": name}}})
	eventuallyVisible(t, name)
	namespace, err := system.Admin(t).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	born, err := strconv.ParseUint(namespace.ResourceVersion, 10, 64)
	require.NoError(t, err)

	config := system.Config(t, "watch-ann", "watch-team")
	s := openStream(t, config, viewPath+query("watch", "1", "allowWatchBookmarks", "true", "sendInitialEvents", "true", "resourceVersionMatch", "NotOlderThan", "labelSelector", "test="+name), "")
	ends := s.must(t, watch.Bookmark)
	require.Equal(t, "true", ends.metadata().Annotations[metav1.InitialEventsAnnotationKey])
	position := ends.revision(t)
	// event returns the next one that is no bookmark of the minute.
	event := func(t *testing.T, eventType watch.EventType) frame {
		t.Helper()
		for {
			next, ok := s.next(t)
			require.True(t, ok, "the watch has ended")
			if next.Type == watch.Bookmark && next.Type != eventType {
				continue
			}
			require.Equal(t, eventType, next.Type, "%v", next.Object)
			return next
		}
	}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}, ResourceNames: []string{name}}},
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoles().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	t.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	unbind := func(t *testing.T, binding string) {
		t.Helper()
		require.NoError(t, rbac.RoleBindings(name).Delete(t.Context(), binding, metav1.DeleteOptions{}))
	}
	for _, step := range []struct {
		name          string
		grant, revoke func(*testing.T)
	}{
		{"a RoleBinding", func(t *testing.T) { t.Helper(); bind(t, name, "ann", user("watch-ann")) }, func(t *testing.T) { t.Helper(); unbind(t, "ann") }},
		{"once more", func(t *testing.T) { t.Helper(); bind(t, name, "ann", user("watch-ann")) }, func(t *testing.T) { t.Helper(); unbind(t, "ann") }},
		{"a group", func(t *testing.T) { t.Helper(); bind(t, name, "team", group("watch-team")) }, func(t *testing.T) { t.Helper(); unbind(t, "team") }},
		{"a ClusterRoleBinding, then its role", func(t *testing.T) {
			t.Helper()
			_, err := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects:   []rbacv1.Subject{group("watch-team")},
			}, metav1.CreateOptions{})
			require.NoError(t, err)
			_, err = rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
			require.NoError(t, err)
		}, func(t *testing.T) {
			t.Helper()
			changed := role.DeepCopy()
			changed.Rules[0].ResourceNames = []string{"absent"}
			_, err := rbac.ClusterRoles().Update(t.Context(), changed, metav1.UpdateOptions{})
			require.NoError(t, err)
		}},
		{"every name", func(t *testing.T) {
			t.Helper()
			changed := role.DeepCopy()
			changed.Rules[0].ResourceNames = nil
			_, err := rbac.ClusterRoles().Update(t.Context(), changed, metav1.UpdateOptions{})
			require.NoError(t, err)
		}, func(t *testing.T) {
			t.Helper()
			require.NoError(t, rbac.ClusterRoles().Delete(t.Context(), name, metav1.DeleteOptions{}))
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.grant(t)
			added := event(t, watch.Added)
			assert.Equal(t, namespace.Name, added.metadata().Name)
			assert.Equal(t, namespace.UID, added.metadata().UID)
			assert.Equal(t, born, added.revision(t), "the object's own revision")
			if position > born {
				bookmark := s.must(t, watch.Bookmark)
				assert.GreaterOrEqual(t, bookmark.revision(t), position, "a position that does not fall")
				position = bookmark.revision(t)
			}
			step.revoke(t)
			deleted := event(t, watch.Deleted)
			assert.Equal(t, namespace.UID, deleted.metadata().UID)
			assert.GreaterOrEqual(t, deleted.revision(t), position)
			position = deleted.revision(t)
		})
	}
}

// TestKubectlWatch is what a tenant sees who watches: a namespace appears when it
// is granted and vanishes when it is revoked, on the connection that is open.
func TestKubectlWatch(t *testing.T) {
	t.Parallel()
	const name = "kubectl-watched"
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{registry.TenantLabel: "oil"}}})
	createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name + "-first"}})
	bind(t, name+"-first", "eve", user("kubectl-eve"))
	eventuallyVisible(t, name+"-first")
	kubectl := system.Kubectl(t, "kubectl-eve")
	require.Eventually(t, func() bool {
		return strings.Contains(kubectl.Output(t, "get", "tns", "-o", "name"), name+"-first")
	}, eventually, tick)

	ctx, cancel := context.WithTimeout(t.Context(), streaming)
	defer cancel()
	cmd := kubectl.Command(ctx, "get", "tns", "--watch", "--output-watch-events", "--v=6")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	first := []string{"ADDED", name + "-first"}
	line := func() []string {
		t.Helper()
		for {
			require.True(t, lines.Scan(), "kubectl has ended")
			// What was listed and had been granted just before is told again.
			if columns := strings.Fields(lines.Text())[:2]; !slices.Equal(columns, first) {
				return columns
			}
		}
	}
	require.Equal(t, []string{"EVENT", "NAME"}, line())
	bind(t, name, "eve", user("kubectl-eve"))
	require.Equal(t, []string{"ADDED", name}, line())
	require.NoError(t, system.Admin(t).RbacV1().RoleBindings(name).Delete(t.Context(), "eve", metav1.DeleteOptions{}))
	require.Equal(t, []string{"DELETED", name}, line())
	bind(t, name, "eve-too", user("kubectl-eve"))
	require.Equal(t, []string{"ADDED", name}, line())
	cancel()
	for lines.Scan() {
		continue
	}
	_ = cmd.Wait() // was killed
	require.Len(t, regexp.MustCompile(`[?&]watch=true`).FindAllString(stderr.String(), -1), 1, "one watch: %s", stderr.String())
}
