// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	worldLabel = "disruption-test"
	tierLabel  = "tier"

	// worldNamespaces is how many names there are for namespaces, worldSecrets how
	// many are never granted to ben.
	worldNamespaces = 14
	worldSecrets    = 3

	initialEdits = 40
	// retryFor is how long an edit waits for an API server that is away.
	retryFor = time.Minute
)

func (w *world) namespaceName(i int) string { return fmt.Sprintf("%s-%02d", w.name, i) }
func (w *world) secretPrefix() string       { return w.name + "-secret-" }

func (w *world) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{worldLabel: w.name}}
}

// prepare makes what the first edit finds.
func (w *world) prepare(ctx context.Context) error {
	everything := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}}
	if _, err := w.admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: w.meta("", w.name+"-every"), Rules: []rbacv1.PolicyRule{everything},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := range worldNamespaces * 2 / 3 {
		if err := w.createNamespace(ctx, w.namespaceName(i)); err != nil {
			return err
		}
	}
	for i := range worldSecrets {
		if err := w.createNamespace(ctx, fmt.Sprint(w.secretPrefix(), i)); err != nil {
			return err
		}
	}
	return nil
}

// edit makes random edits, one after the other.
func (w *world) edit(ctx context.Context, n int) error {
	for range n {
		if err := w.editOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

// editPeriod is the time between two edits in the background.
const editPeriod = 25 * time.Millisecond

// editing is edits in the background.
type editing struct {
	made   atomic.Int64
	cancel context.CancelFunc
	// err is closed when the edits have ended, after their error was sent.
	err chan error
}

// editInBackground makes so many random edits while the test does something else;
// any number, until they are stopped, if n is 0.
func (w *world) editInBackground(t *testing.T, n int) *editing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := &editing{cancel: cancel, err: make(chan error, 1)}
	go func() {
		defer close(e.err)
		ticker := time.NewTicker(editPeriod)
		defer ticker.Stop()
		for i := 0; (n == 0 || i < n) && ctx.Err() == nil; i++ {
			// An edit is made as a whole.
			if err := w.edit(context.WithoutCancel(ctx), 1); err != nil {
				e.err <- err
				return
			}
			e.made.Add(1)
			<-ticker.C
		}
	}()
	t.Cleanup(func() { e.stop(t) })
	return e
}

// await waits until so many edits were made.
func (e *editing) await(t *testing.T, made int) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case err := <-e.err:
			require.NoError(t, err)
		default:
		}
		return e.made.Load() >= int64(made)
	}, 2*retryFor, editPeriod, "%d of %d edits were made", e.made.Load(), made)
}

// stop ends the edits.
func (e *editing) stop(t *testing.T) {
	t.Helper()
	e.cancel()
	require.NoError(t, <-e.err)
}

func (w *world) editOnce(ctx context.Context) error {
	ns := w.namespaceName(w.random.IntN(worldNamespaces))
	secret := fmt.Sprint(w.secretPrefix(), w.random.IntN(worldSecrets))
	switch n := w.random.IntN(100); {
	case n < 35:
		return w.toggleRoleBinding(ctx, ns, pick(w, w.ann.name, w.ben.name, w.ann.groups[0]))
	case n < 38:
		return w.toggleRoleBinding(ctx, secret, pick(w, w.ann.name, w.ann.groups[0]))
	case n < 52:
		return w.putNames(ctx, pick(w, "a", "b"))
	case n < 62:
		return w.toggleClusterRoleBinding(ctx, "names-"+pick(w, "a", "b"), pick(w, w.ann.name, w.ben.name, w.ann.groups[0]))
	case n < 67:
		return w.toggleClusterRoleBinding(ctx, "every", pick(w, w.ann.name, w.ann.groups[0]))
	case n < 79:
		return w.putLabel(ctx, pick(w, ns, ns, ns, secret))
	case n < 91:
		return w.createNamespace(ctx, pick(w, ns, ns, secret))
	default:
		return w.deleteNamespace(ctx, pick(w, ns, ns, secret))
	}
}

func (w *world) toggleRoleBinding(ctx context.Context, ns, subject string) error {
	return w.toggleRoleBindingTo(ctx, ns, subject, pick(w, "view", w.name+"-names-a"))
}

func (w *world) toggleRoleBindingTo(ctx context.Context, ns, subject, role string) error {
	client := w.admin.RbacV1().RoleBindings(ns)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: w.meta(ns, subject+"-"+role), Subjects: w.subjects(subject),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	return toggle(ctx, w, "RoleBinding", binding, client)
}

func (w *world) toggleClusterRoleBinding(ctx context.Context, role, subject string) error {
	role = w.name + "-" + role
	return toggle(ctx, w, "ClusterRoleBinding", &rbacv1.ClusterRoleBinding{
		ObjectMeta: w.meta("", role+"-"+subject), Subjects: w.subjects(subject),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}, w.admin.RbacV1().ClusterRoleBindings())
}

// subjects returns the subject of a name: a user, or the group of ann.
func (w *world) subjects(name string) []rbacv1.Subject {
	kind := rbacv1.UserKind
	if slices.Contains(w.ann.groups, name) {
		kind = rbacv1.GroupKind
	}
	return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}}
}

// putNames makes a ClusterRole allow other names: it is created, changed or, now
// and then, deleted. A rule without names would allow every name.
func (w *world) putNames(ctx context.Context, which string) error {
	if w.random.IntN(6) == 0 {
		name := w.name + "-names-" + which
		return w.do(ctx, "delete ClusterRole "+name, func(ctx context.Context) error {
			return w.admin.RbacV1().ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
		})
	}
	names := []string{"absent"}
	for range w.random.IntN(5) {
		names = append(names, w.namespaceName(w.random.IntN(worldNamespaces)))
	}
	return w.putNamesOf(ctx, which, names...)
}

func (w *world) putNamesOf(ctx context.Context, which string, names ...string) error {
	client := w.admin.RbacV1().ClusterRoles()
	role := &rbacv1.ClusterRole{ObjectMeta: w.meta("", w.name+"-names-"+which), Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}, ResourceNames: names,
	}}}
	return w.do(ctx, fmt.Sprintf("put ClusterRole %s %v", role.Name, names), func(ctx context.Context) error {
		_, err := client.Update(ctx, role, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(ctx, role, metav1.CreateOptions{})
		}
		return err
	})
}

func (w *world) tier() string { return pick(w, "gold", "silver") }

func (w *world) putLabel(ctx context.Context, name string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q,"round":"%d"}}}`, tierLabel, w.tier(), w.random.IntN(1000))
	return w.do(ctx, "label Namespace "+name+" "+patch, func(ctx context.Context) error {
		_, err := w.admin.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
}

func (w *world) createNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: w.meta("", name)}
	namespace.Labels[tierLabel] = w.tier()
	return w.do(ctx, "create Namespace "+name, func(ctx context.Context) error {
		_, err := w.admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		return err
	})
}

func (w *world) deleteNamespace(ctx context.Context, name string) error {
	return w.do(ctx, "delete Namespace "+name, func(ctx context.Context) error {
		return w.admin.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	})
}

// marksEach is how many namespaces are marked for a user at a time.
const marksEach = 3

func markOf(user identity) string { return user.name + "-mark" }

// mark writes into namespaces that a user may not get what nobody may ever send
// to the user, and takes it away again before anything else is edited. There may
// be none.
func (w *world) mark(t *testing.T) {
	t.Helper()
	users := []identity{w.ann, w.ben}
	allowed, err := w.allowed(t.Context(), users)
	require.NoError(t, err)
	list, err := w.admin.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: worldLabel + "=" + w.name})
	require.NoError(t, err)
	for _, user := range users {
		marked := 0
		for i := range list.Items {
			namespace := &list.Items[i]
			if allowed[user.name][namespace.Name] != nil || namespace.DeletionTimestamp != nil || marked == marksEach {
				continue
			}
			marked++
			for _, mark := range []string{fmt.Sprintf("%q", markOf(user)), "null"} {
				patch := fmt.Sprintf(`{"metadata":{"annotations":{"mark":%s}}}`, mark)
				require.NoError(t, w.do(t.Context(), "mark Namespace "+namespace.Name+" "+patch, func(ctx context.Context) error {
					namespace, err = w.admin.CoreV1().Namespaces().Patch(ctx, namespace.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
					return err
				}))
			}
			// A grant that the server hears of before it hears of the last edit would
			// rightly show what it knows.
			require.Eventually(t, func() bool {
				seen, err := w.views.TenancyV1alpha1().TenantNamespaces().Get(t.Context(), namespace.Name, metav1.GetOptions{})
				return err == nil && seen.ResourceVersion == namespace.ResourceVersion
			}, settleWithin, editPeriod, "the mark of %s stays", namespace.Name)
		}
		w.marked += marked
	}
}

// toggler is what the typed clients of bindings have in common.
type toggler[T any] interface {
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// toggle creates an object if it is not there, and deletes it if it is.
func toggle[T metav1.Object](ctx context.Context, w *world, kind string, object T, client toggler[T]) error {
	name := object.GetName()
	return w.do(ctx, fmt.Sprintf("toggle %s %s/%s", kind, object.GetNamespace(), name), func(ctx context.Context) error {
		_, err := client.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = client.Create(ctx, object, metav1.CreateOptions{})
		case err == nil:
			err = client.Delete(ctx, name, metav1.DeleteOptions{})
		}
		return err
	})
}

// do makes an edit, again and again while the API server is away. An edit that
// what is there does not admit is none.
func (w *world) do(ctx context.Context, what string, edit func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, retryFor, true, func(ctx context.Context) (bool, error) {
		last = edit(ctx)
		switch {
		case last == nil, apierrors.IsNotFound(last), apierrors.IsAlreadyExists(last), apierrors.IsConflict(last),
			apierrors.HasStatusCause(last, corev1.NamespaceTerminatingCause):
			return true, nil
		case isTransient(last):
			return false, nil
		default:
			return false, last
		}
	})
	w.log.note("%s: %v", what, last)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", what, err, last)
	}
	return nil
}

// isTransient reports whether an error is that of an API server that is away,
// comes or goes.
func isTransient(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || status.Status().Code >= 500 || apierrors.IsTooManyRequests(err)
}

// cleanUp leaves nothing that later tests would meet.
func (w *world) cleanUp(t *testing.T) {
	t.Helper()
	ctx, selector := context.WithoutCancel(t.Context()), metav1.ListOptions{LabelSelector: worldLabel + "=" + w.name}
	for _, remove := range []func(context.Context) error{
		func(ctx context.Context) error {
			return w.admin.RbacV1().ClusterRoleBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
		},
		func(ctx context.Context) error {
			return w.admin.RbacV1().ClusterRoles().DeleteCollection(ctx, metav1.DeleteOptions{}, selector)
		},
	} {
		if err := w.do(ctx, "clean up", remove); err != nil {
			t.Error(err)
		}
	}
	list, err := w.admin.CoreV1().Namespaces().List(ctx, selector)
	if err != nil {
		t.Error(err)
		return
	}
	for i := range list.Items {
		if err := w.deleteNamespace(ctx, list.Items[i].Name); err != nil {
			t.Error(err)
		}
	}
}

// pick returns a random element.
func pick[T any](w *world, from ...T) T { return from[w.random.IntN(len(from))] }
