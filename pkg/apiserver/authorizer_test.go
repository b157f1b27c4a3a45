// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/registry"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// TestViewAuthorizer holds the authorizer to allowing what RBAC allows, and to
// leaving everything else to the one behind it.
func TestViewAuthorizer(t *testing.T) {
	t.Parallel()
	viewer := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "tenancy:viewer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"tenancy.capsule.io"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}},
	}
	named := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "named"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"tenancy.capsule.io"}, Resources: []string{"tenantnamespaces"}, Verbs: []string{"get", "list"}, ResourceNames: []string{"oil"}}},
	}
	nameless := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "nameless"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"tenancy.capsule.io"}, Resources: []string{"tenantnamespaces"}, Verbs: []string{"list"}, ResourceNames: []string{""}}},
	}
	native := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "native"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"*"}}},
	}
	everything := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "everything"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
	}
	index := newIndex(t,
		viewer, named, nameless, native, everything,
		bind(viewer, rbacv1.GroupKind, user.AllAuthenticated),
		bind(named, rbacv1.UserKind, "named"),
		bind(nameless, rbacv1.UserKind, "nameless"),
		bind(native, rbacv1.UserKind, "native"),
		bind(everything, rbacv1.UserKind, "everything"),
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "everything", Namespace: "oil"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "owner"}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: everything.Name},
		},
	)
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{user.AllAuthenticated}}
	attributes := func(change ...func(*authorizer.AttributesRecord)) authorizer.AttributesRecord {
		a := authorizer.AttributesRecord{
			User: alice, Verb: "list", APIGroup: "tenancy.capsule.io", APIVersion: "v1alpha1", Resource: "tenantnamespaces",
			ResourceRequest: true, Path: "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces",
		}
		for _, f := range change {
			f(&a)
		}
		return a
	}
	by := func(name string, groups ...string) func(*authorizer.AttributesRecord) {
		return func(a *authorizer.AttributesRecord) { a.User = &user.DefaultInfo{Name: name, Groups: groups} }
	}
	verb := func(verb, name string) func(*authorizer.AttributesRecord) {
		return func(a *authorizer.AttributesRecord) { a.Verb, a.Name = verb, name }
	}

	for name, test := range map[string]struct {
		given    authorizer.AttributesRecord
		notReady bool
		allowed  bool
	}{
		"list":                                  {given: attributes(), allowed: true},
		"watch":                                 {given: attributes(verb("watch", "")), allowed: true},
		"get":                                   {given: attributes(verb("get", "oil")), allowed: true},
		"list of one name":                      {given: attributes(verb("list", "oil")), allowed: true},
		"system:masters":                        {given: attributes(by("root", user.SystemPrivilegedGroup)), allowed: true},
		"a name by a rule with names":           {given: attributes(by("named"), verb("get", "oil")), allowed: true},
		"a list of a name by a rule with names": {given: attributes(by("named"), verb("list", "oil")), allowed: true},

		"not ready":                            {given: attributes(), notReady: true},
		"not ready for system:masters":         {given: attributes(by("root", user.SystemPrivilegedGroup)), notReady: true},
		"another name by a rule with names":    {given: attributes(by("named"), verb("get", "gas"))},
		"a list by a rule with names":          {given: attributes(by("named"))},
		"a list by a rule with an empty name":  {given: attributes(by("nameless"))},
		"another verb by a rule with names":    {given: attributes(by("named"), verb("watch", "oil"))},
		"a user without groups":                {given: attributes(by("bob"))},
		"anonymous":                            {given: attributes(by(user.Anonymous, user.AllUnauthenticated))},
		"a user of the native resource":        {given: attributes(by("native"))},
		"by a RoleBinding":                     {given: attributes(by("owner"), verb("get", "oil"))},
		"no user":                              {given: attributes(func(a *authorizer.AttributesRecord) { a.User = nil })},
		"create":                               {given: attributes(by("everything"), verb("create", ""))},
		"update":                               {given: attributes(by("everything"), verb("update", "oil"))},
		"patch":                                {given: attributes(by("everything"), verb("patch", "oil"))},
		"delete":                               {given: attributes(by("everything"), verb("delete", "oil"))},
		"deletecollection":                     {given: attributes(by("everything"), verb("deletecollection", ""))},
		"every verb":                           {given: attributes(by("everything"), verb("*", ""))},
		"another group":                        {given: attributes(by("everything"), func(a *authorizer.AttributesRecord) { a.APIGroup = "" })},
		"another group with the same resource": {given: attributes(by("everything"), func(a *authorizer.AttributesRecord) { a.APIGroup = "example.com" })},
		"another resource":                     {given: attributes(by("everything"), func(a *authorizer.AttributesRecord) { a.Resource = "tenants" })},
		"a subresource":                        {given: attributes(by("everything"), verb("get", "oil"), func(a *authorizer.AttributesRecord) { a.Subresource = "status" })},
		"in a namespace":                       {given: attributes(by("everything"), func(a *authorizer.AttributesRecord) { a.Namespace = "oil" })},
		"no resource":                          {given: attributes(by("everything"), func(a *authorizer.AttributesRecord) { a.ResourceRequest = false })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready := func() error {
				if test.notReady {
					return errors.New("roles: not read yet")
				}
				return nil
			}
			decision, reason, err := newViewAuthorizer(index, ready).Authorize(t.Context(), test.given)
			require.NoError(t, err)
			switch {
			case test.allowed:
				assert.Equal(t, authorizer.DecisionAllow, decision)
				assert.NotEmpty(t, reason, "for the audit log")
			case test.notReady:
				assert.Equal(t, authorizer.DecisionNoOpinion, decision)
				assert.Empty(t, reason, "it would be told to users whom the next authorizer refuses")
			default:
				assert.Equal(t, authorizer.DecisionNoOpinion, decision)
				assert.Empty(t, reason)
			}
		})
	}
}

func bind(role *rbacv1.ClusterRole, kind, name string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
	}
}

// newIndex returns the server's index, with the RBAC objects read.
func newIndex(tb testing.TB, objects ...runtime.Object) *access.Index {
	tb.Helper()
	index := access.NewIndex(append(registry.Questions(), coarseQuestions()...)...)
	feeds := index.Feeds(newClient(objects...), clocktesting.NewFakeClock(time.Now()))
	var running sync.WaitGroup
	for _, f := range feeds {
		running.Go(func() { f.Run(tb.Context()) })
	}
	tb.Cleanup(running.Wait)
	for _, f := range feeds {
		require.Eventually(tb, func() bool { return f.Check() == nil }, patience, time.Millisecond, f.Name())
	}
	return index
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
