// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/test/framework"
)

const (
	eventually = framework.Eventually
	gone       = framework.Gone

	// users is the group of capsule users.
	users = "capsule.clastix.io"
	// clusterAdmin is a user with all rights. Unlike members of system:masters it
	// is subject to every webhook.
	clusterAdmin = "cluster-admin@example.com"
)

// letProxyTake lets the proxy take certificates of the groups of the examples, which
// administrators have to list.
func letProxyTake(ctx context.Context, groups ...string) error {
	config, err := system.ControlPlane.AdminConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	const name = "tests:tenancy-proxy"
	_, err = client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: groups}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "tenancy-system", Name: "tenancy-proxy"}},
	}, metav1.CreateOptions{})
	return err
}

// bindClusterAdmin gives clusterAdmin all rights.
func bindClusterAdmin(ctx context.Context) error {
	config, err := system.ControlPlane.AdminConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "tests:cluster-admin"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{subject(rbacv1.UserKind, clusterAdmin)},
	}, metav1.CreateOptions{})
	return err
}

func subject(kind, name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

// admin returns a client of a member of system:masters, whose namespaces are
// nobody's business.
func admin(t testing.TB) client.WithWatch {
	t.Helper()
	return framework.ClientOf(t, system.AdminConfig(t))
}

// as returns a client of a capsule user.
func as(t testing.TB, user string) client.WithWatch {
	t.Helper()
	return framework.ClientOf(t, system.Config(t, user, users))
}

// await waits until what is read is what is wanted. What cannot be read is waited
// for, too.
func await[T any](t testing.TB, what string, want T, read func(ctx context.Context) (T, error)) {
	t.Helper()
	framework.AwaitWithin(t, eventually, what, want, read)
}

func awaitWithin[T any](t testing.TB, limit time.Duration, what string, want T, read func(ctx context.Context) (T, error)) {
	t.Helper()
	framework.AwaitWithin(t, limit, what, want, read)
}

// compare holds that there is no difference.
func compare[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// owner returns a user that owns a Tenant, with the operations on kinds.
func owner(name string, settings ...capsulev1beta2.ProxyOperations) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{
		CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}},
		ProxySettings: settings,
	}
}

func lists(kinds ...capsulev1beta2.ProxyServiceKind) []capsulev1beta2.ProxyOperations {
	var settings []capsulev1beta2.ProxyOperations
	for _, kind := range kinds {
		settings = append(settings, capsulev1beta2.ProxyOperations{Kind: kind, Operations: []capsulev1beta2.ProxyOperation{capsulev1beta2.ListOperation}})
	}
	return settings
}

// awaitGone waits until an object is no more.
func awaitGone(t testing.TB, object client.Object) {
	t.Helper()
	system.AwaitGone(t, object)
}

// createTenant makes a Tenant for the time of the test.
func createTenant(t testing.TB, name string, spec capsulev1beta2.TenantSpec) *capsulev1beta2.Tenant {
	t.Helper()
	return system.CreateTenant(t, name, spec)
}

// awaitAccess waits until the API server allows, or refuses, a capsule user something.
func awaitAccess(t testing.TB, user string, want bool, attributes authorizationv1.ResourceAttributes) {
	t.Helper()
	system.AwaitAccess(t, user, []string{users}, want, attributes)
}

// updateTenant changes the spec of a Tenant, and returns it when the controller has
// seen it.
func updateTenant(t testing.TB, name string, change func(spec *capsulev1beta2.TenantSpec)) *capsulev1beta2.Tenant {
	t.Helper()
	c, tenant := admin(t), &capsulev1beta2.Tenant{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, tenant))
	before := tenant.DeepCopy()
	change(&tenant.Spec)
	require.NoError(t, c.Patch(t.Context(), tenant, client.MergeFrom(before)))
	system.AwaitKnown(t, tenant)
	return tenant
}

// newNamespace returns a namespace with labels in pairs.
func newNamespace(name string, labels ...string) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for pair := range slices.Chunk(labels, 2) {
		metav1.SetMetaDataLabel(&namespace.ObjectMeta, pair[0], pair[1])
	}
	return namespace
}

// createNamespace has a user make a namespace, and returns it when the user is
// bound in it.
func createNamespace(t testing.TB, user, name string) *corev1.Namespace {
	t.Helper()
	namespace := newNamespace(name)
	require.NoError(t, as(t, user).Create(t.Context(), namespace))
	awaitAccess(t, user, true, authorizationv1.ResourceAttributes{Verb: "create", Resource: "configmaps", Namespace: name})
	return namespace
}

// createFree makes a namespace that belongs to no tenant, for the time of a test.
func createFree(t testing.TB, name string) {
	t.Helper()
	namespace := newNamespace(name)
	require.NoError(t, admin(t).Create(t.Context(), namespace))
	t.Cleanup(func() {
		require.NoError(t, client.IgnoreNotFound(admin(t).Delete(context.WithoutCancel(t.Context()), namespace)))
	})
}

// awaitView waits until the view of namespaces of a capsule user holds exactly these.
func awaitView(t testing.TB, user string, want ...string) {
	t.Helper()
	views, err := versioned.NewForConfig(system.Config(t, user, users))
	require.NoError(t, err)
	if want == nil {
		want = []string{}
	}
	await(t, "namespaces that "+user+" sees", want, func(ctx context.Context) ([]string, error) {
		list, err := views.TenancyV1alpha1().TenantNamespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		names := make([]string, 0, len(list.Items))
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		return names, nil
	})
}

// requireForbidden holds that a request was refused, with a message that says all
// of these.
func requireForbidden(t testing.TB, err error, messages ...string) {
	t.Helper()
	require.True(t, apierrors.IsForbidden(err), "want a 403, got: %v", err)
	for _, message := range messages {
		require.ErrorContains(t, err, message)
	}
}

// column matches the name of a column in the header that kubectl prints.
var column = regexp.MustCompile(`\S+(?: \S+)*`)

// table returns what kubectl printed cell by cell, without the ages of objects.
func table(output string) [][]string {
	rows := [][]string{}
	var starts []int
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		if starts == nil {
			for _, at := range column.FindAllStringIndex(line, -1) {
				starts = append(starts, at[0])
			}
		}
		row := make([]string, 0, len(starts))
		for i, start := range starts {
			end := len(line)
			if i+1 < len(starts) {
				end = min(end, starts[i+1])
			}
			cell := ""
			if start < end {
				cell = strings.TrimSpace(line[start:end])
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return rows
	}
	if age := slices.Index(rows[0], "AGE"); age >= 0 {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], age, age+1)
		}
	}
	return rows
}

// writeFile writes a file for the time of a test.
func writeFile(t testing.TB, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// cli is the kubectl of one user.
type cli interface {
	Command(ctx context.Context, args ...string) *exec.Cmd
	Run(tb testing.TB, args ...string) (stdout, stderr string, err error)
	Output(tb testing.TB, args ...string) string
}

// serviceAccount returns the kubectl of a service account that there is. Who logs
// in by a token has one of the API server's: those of the issuer are for people.
func serviceAccount(t testing.TB, login login, namespace, name string) cli {
	t.Helper()
	if !login.byToken {
		return login.kubectl(t, "system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	return withToken{login.kubectl(t, "nobody"), serviceAccountToken(t, namespace, name)}
}

func serviceAccountToken(t testing.TB, namespace, name string) string {
	t.Helper()
	request, err := system.Admin(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return request.Status.Token
}

// withToken is a kubectl that sends another token than that of its kubeconfig.
type withToken struct {
	*framework.Kubectl
	token string
}

func (w withToken) flags(args []string) []string {
	return append([]string{"--token=" + w.token}, args...)
}

func (w withToken) Command(ctx context.Context, args ...string) *exec.Cmd {
	return w.Kubectl.Command(ctx, w.flags(args)...)
}

func (w withToken) Run(tb testing.TB, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	return w.Kubectl.Run(tb, w.flags(args)...)
}

func (w withToken) Output(tb testing.TB, args ...string) string {
	tb.Helper()
	return w.Kubectl.Output(tb, w.flags(args)...)
}

// awaitEvent waits for an event about a Tenant, and returns it.
func awaitEvent(t testing.TB, tenant, reason, note string) eventsv1.Event {
	t.Helper()
	c := admin(t)
	var found eventsv1.Event
	await(t, fmt.Sprintf("event %s about tenant %s that says %q", reason, tenant, note), true, func(ctx context.Context) (bool, error) {
		var list eventsv1.EventList
		if err := c.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
			return false, err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.Regarding.Kind == "Tenant" && e.Regarding.Name == tenant && e.Reason == reason && strings.Contains(e.Note, note) {
				found = *e
				return true, nil
			}
		}
		return false, nil
	})
	return found
}
