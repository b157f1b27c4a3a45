// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

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

	// worldNames is how many names there are for the objects of a resource,
	// worldSecrets how many are never granted to ben. Those of all resources are the
	// same: a RoleBinding in a namespace must not show the node of that name.
	worldNames   = 14
	worldSecrets = 3

	initialEdits = 60
	// retryFor is how long an edit waits for an API server that is away.
	retryFor = time.Minute
)

func (w *world) objectName(i int) string { return fmt.Sprintf("%s-%02d", w.name, i) }
func (w *world) secretPrefix() string    { return w.name + "-secret-" }

func (w *world) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{worldLabel: w.name}}
}

// prepare makes what the first edit finds.
func (w *world) prepare(ctx context.Context) error {
	var everything []rbacv1.PolicyRule
	for _, of := range resources {
		everything = append(everything, of.rule())
	}
	if _, err := w.admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: w.meta("", w.name+"-every"), Rules: everything,
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, of := range resources {
		for i := range worldNames * 2 / 3 {
			if err := w.create(ctx, of, w.objectName(i)); err != nil {
				return err
			}
		}
		for i := range worldSecrets {
			if err := w.create(ctx, of, fmt.Sprint(w.secretPrefix(), i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rule allows to get objects of some names, all if there are none.
func (r *resource) rule(names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{r.native.Group}, Resources: []string{r.native.Resource}, Verbs: []string{"get"}, ResourceNames: names,
	}
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

func (w *world) editOnce(ctx context.Context) error {
	of := pick(w, namespaces, namespaces, nodes, tenants)
	name := w.objectName(w.random.IntN(worldNames))
	secret := fmt.Sprint(w.secretPrefix(), w.random.IntN(worldSecrets))
	switch n := w.random.IntN(100); {
	case n < 28:
		return w.toggleRoleBinding(ctx, name, pick(w, w.ann.name, w.ben.name, w.ann.groups[0]))
	case n < 31:
		return w.toggleRoleBinding(ctx, secret, pick(w, w.ann.name, w.ann.groups[0]))
	case n < 46:
		return w.putNames(ctx, pick(w, "a", "b"))
	case n < 57:
		return w.toggleClusterRoleBinding(ctx, "names-"+pick(w, "a", "b"), pick(w, w.ann.name, w.ben.name, w.ann.groups[0]))
	case n < 62:
		return w.toggleClusterRoleBinding(ctx, "every", pick(w, w.ann.name, w.ann.groups[0]))
	case n < 74:
		return w.putLabel(ctx, of, pick(w, name, name, name, secret))
	case n < 80:
		return w.putStatus(ctx, pick(w, name, name, name, secret))
	case n < 91:
		return w.create(ctx, of, pick(w, name, name, secret))
	default:
		return w.delete(ctx, of, pick(w, name, name, secret))
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
	rules := []rbacv1.PolicyRule{w.someOf(namespaces), w.someOf(nodes), w.someOf(tenants)}
	return w.putRules(ctx, which, rules...)
}

// someOf allows to get some objects, or none.
func (w *world) someOf(of *resource) rbacv1.PolicyRule {
	names := []string{"absent"}
	for range w.random.IntN(5) {
		names = append(names, w.objectName(w.random.IntN(worldNames)))
	}
	return of.rule(names...)
}

// putNamesOf makes a ClusterRole allow to get the objects of every resource that
// have some names.
func (w *world) putNamesOf(ctx context.Context, which string, names ...string) error {
	return w.putRules(ctx, which, namespaces.rule(names...), nodes.rule(names...), tenants.rule(names...))
}

func (w *world) putRules(ctx context.Context, which string, rules ...rbacv1.PolicyRule) error {
	client := w.admin.RbacV1().ClusterRoles()
	role := &rbacv1.ClusterRole{ObjectMeta: w.meta("", w.name+"-names-"+which), Rules: rules}
	return w.do(ctx, fmt.Sprintf("put ClusterRole %s %v", role.Name, rules), func(ctx context.Context) error {
		_, err := client.Update(ctx, role, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(ctx, role, metav1.CreateOptions{})
		}
		return err
	})
}

func (w *world) tier() string { return pick(w, "gold", "silver") }

func (w *world) putLabel(ctx context.Context, of *resource, name string) error {
	return w.patch(ctx, of, name, fmt.Sprintf(`{"metadata":{"labels":{%q:%q,"round":"%d"}}}`, tierLabel, w.tier(), w.random.IntN(1000)))
}

// putStatus does what the kubelet of a node does all the time.
func (w *world) putStatus(ctx context.Context, name string) error {
	status := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Beat%d"}]}}`, w.random.IntN(1000))
	return w.patch(ctx, nodes, name, status, "status")
}

func (w *world) patch(ctx context.Context, of *resource, name, patch string, subresources ...string) error {
	return w.do(ctx, fmt.Sprintf("patch %s %s %s", of.nativeKind, name, patch), func(ctx context.Context) error {
		_, err := w.stored.Resource(of.native).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
		return err
	})
}

func (w *world) create(ctx context.Context, of *resource, name string) error {
	meta := w.meta("", name)
	meta.Labels[tierLabel] = w.tier()
	return w.do(ctx, fmt.Sprintf("create %s %s", of.nativeKind, name), func(ctx context.Context) error {
		_, err := w.stored.Resource(of.native).Create(ctx, of.object(meta), metav1.CreateOptions{})
		return err
	})
}

func (w *world) delete(ctx context.Context, of *resource, name string) error {
	return w.do(ctx, fmt.Sprintf("delete %s %s", of.nativeKind, name), func(ctx context.Context) error {
		return w.stored.Resource(of.native).Delete(ctx, name, metav1.DeleteOptions{})
	})
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
	for _, of := range resources {
		list, err := w.stored.Resource(of.native).List(ctx, selector)
		if of == tenants && apierrors.IsNotFound(err) {
			continue // nobody has defined them
		}
		if err != nil {
			t.Error(err)
			continue
		}
		for i := range list.Items {
			if err := w.delete(ctx, of, list.Items[i].GetName()); err != nil {
				t.Error(err)
			}
		}
	}
}

// pick returns a random element.
func pick[T any](w *world, from ...T) T { return from[w.random.IntN(len(from))] }
