// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/fake"
	restclient "k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/internal/feed"
	"tenancy.capsule.io/pkg/view"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// revision is that of a fixture's view.
const revision = "100"

// reader is what the generic server calls.
type reader interface {
	rest.Getter
	rest.Lister
}

// newReader returns the storage of a view with the given namespaces. alice, by a
// RoleBinding in each, may get those whose names are given; the group admins may
// get every one.
func newReader(tb testing.TB, objects []*corev1.Namespace, names ...string) reader {
	tb.Helper()
	return newReaderWith(tb, func() error { return nil }, objects, names...)
}

func newReaderWith(tb testing.TB, ready func() error, objects []*corev1.Namespace, names ...string) reader {
	tb.Helper()
	index, _ := newIndex(tb, newClient(grants(names...)...))
	v := view.New[*v1alpha1.TenantNamespace, access.Subject](namespaces.viewKind(), index.Snapshot(namespaces.question()), clocktesting.NewFakeClock(time.Now()))
	into := sink[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace, *corev1.Namespace]{v, namespaces.fromNative}
	into.Replace(objects, revision)
	return newStorage(namespaces.strategy(), v, ready, newWatchLimit(3))
}

// newIndex returns an index that has read the client's RBAC, and what says so.
func newIndex(tb testing.TB, client *fake.Clientset) (*access.Index, func() error) {
	tb.Helper()
	index := access.NewIndex(Questions()...)
	feeds := index.Feeds(client, clocktesting.NewFakeClock(time.Now()))
	ready := func() error {
		var errs []error
		for _, f := range feeds {
			errs = append(errs, f.Check())
		}
		return utilerrors.NewAggregate(errs)
	}
	runFeeds(tb, feeds...)
	require.Eventually(tb, func() bool { return ready() == nil }, patience, time.Millisecond, "the index has read RBAC")
	return index, ready
}

// runFeeds runs feeds until the test ends.
func runFeeds(tb testing.TB, feeds ...*feed.Feed) {
	tb.Helper()
	var running sync.WaitGroup
	for _, f := range feeds {
		running.Go(func() { f.Run(tb.Context()) })
	}
	tb.Cleanup(running.Wait)
}

// newClient returns a client of a cluster with the given objects. It refuses, as
// an older API server, watches with initial events, which the fake does not know.
func newClient(objects ...runtime.Object) *fake.Clientset {
	client := fake.NewSimpleClientset(objects...)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if w, ok := action.(clienttesting.WatchActionImpl); ok && w.ListOptions.SendInitialEvents != nil {
			return true, nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)
		}
		return false, nil, nil
	})
	return client
}

// clientsOf returns clients of which nothing is asked but what the given one answers.
func clientsOf(tb testing.TB, client *fake.Clientset) Clients {
	tb.Helper()
	clients, err := NewClients(&restclient.Config{Host: "http://localhost"})
	require.NoError(tb, err)
	clients.Kubernetes = client
	return clients
}

// grants returns the RBAC of newReader.
func grants(names ...string) []runtime.Object {
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "getter"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"namespaces"}}},
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name}
	objects := []runtime.Object{role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "admins"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "admins"}},
		RoleRef:    ref,
	}}
	for _, name := range names {
		objects = append(objects, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "alice", Namespace: name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
			RoleRef:    ref,
		})
	}
	return objects
}

// as returns the context of a user's request.
func as(tb testing.TB, name string, groups ...string) context.Context {
	tb.Helper()
	return apirequest.WithUser(tb.Context(), &user.DefaultInfo{Name: name, Groups: groups})
}

// list returns what the storage lists.
func list(ctx context.Context, tb testing.TB, r reader, options *metainternalversion.ListOptions) *v1alpha1.TenantNamespaceList {
	tb.Helper()
	object, err := r.List(ctx, options)
	require.NoError(tb, err)
	require.IsType(tb, &v1alpha1.TenantNamespaceList{}, object)
	return object.(*v1alpha1.TenantNamespaceList)
}

// get returns what the storage gets.
func get(ctx context.Context, tb testing.TB, r reader, name string) *v1alpha1.TenantNamespace {
	tb.Helper()
	object, err := r.Get(ctx, name, &metav1.GetOptions{})
	require.NoError(tb, err)
	require.IsType(tb, &v1alpha1.TenantNamespace{}, object)
	return object.(*v1alpha1.TenantNamespace)
}

func namesOf(list *v1alpha1.TenantNamespaceList) []string {
	names := []string{}
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names
}

// namespace returns an active namespace with its own revision.
func namespace(name string, change ...func(*corev1.Namespace)) *corev1.Namespace {
	n := &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid of " + name), ResourceVersion: "42", Labels: map[string]string{"kubernetes.io/metadata.name": name}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func labeled(key, value string) func(*corev1.Namespace) {
	return func(n *corev1.Namespace) { n.Labels[key] = value }
}

func terminating(n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating }

// encoders returns the encoders of a generic API server, by media type.
func encoders(tb testing.TB) map[string]runtime.Encoder {
	tb.Helper()
	scheme := runtime.NewScheme()
	require.NoError(tb, v1alpha1.AddToScheme(scheme))
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	encoders := map[string]runtime.Encoder{}
	for _, info := range codecs.SupportedMediaTypes() {
		encoders[info.MediaType] = codecs.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion)
	}
	return encoders
}
