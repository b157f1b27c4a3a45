// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// TestWhoReads holds every read to a user and to a view that can answer.
func TestWhoReads(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ready error
		user  bool
		want  metav1.Status
	}{
		"no user": {want: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
			Message: "Internal error occurred: no user in the request",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "no user in the request"}}},
		}},
		"no user and not ready": {ready: errors.New("not read yet"), want: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
			Message: "Internal error occurred: no user in the request",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "no user in the request"}}},
		}},
		"not ready": {user: true, ready: errors.New("roles: not read yet"), want: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
			Message: "tenantnamespaces.tenancy.capsule.io cannot be read now: roles: not read yet",
			Details: &metav1.StatusDetails{Group: "tenancy.capsule.io", Kind: "tenantnamespaces", RetryAfterSeconds: 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReaderWith(t, func() error { return test.ready }, []*corev1.Namespace{namespace("oil")}, "oil")
			ctx := t.Context()
			if test.user {
				ctx = as(t, "alice", "admins")
			}
			object, err := r.Get(ctx, "oil", &metav1.GetOptions{})
			assert.Nil(t, object)
			assertStatus(t, test.want, err)

			object, err = r.List(ctx, &metainternalversion.ListOptions{})
			assert.Nil(t, object, "an empty list empties the caches of clients")
			assertStatus(t, test.want, err)
		})
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	r := newReader(t, []*corev1.Namespace{namespace("gas"), namespace("oil", labeled(TenantLabel, "oil"))}, "oil")
	want := (*v1alpha1.TenantNamespace)(namespace("oil", labeled(TenantLabel, "oil")))
	if diff := cmp.Diff(want, get(as(t, "alice"), t, r, "oil")); diff != "" {
		t.Errorf("oil as alice (-want +got):\n%s", diff)
	}
	assert.Equal(t, "gas", get(as(t, "root", "admins"), t, r, "gas").Name)
}

// TestHiddenIsAbsent holds the answer for what a user may not get to that for
// what does not exist, byte by byte.
func TestHiddenIsAbsent(t *testing.T) {
	t.Parallel()
	oil := namespace("oil")
	for name, test := range map[string]struct {
		objects []*corev1.Namespace
		granted []string
		user    string
		options metav1.GetOptions
	}{
		"hidden":                  {objects: []*corev1.Namespace{oil, namespace("secret")}, granted: []string{"oil"}, user: "alice"},
		"absent":                  {objects: []*corev1.Namespace{oil}, granted: []string{"oil"}, user: "alice"},
		"absent and granted":      {objects: []*corev1.Namespace{oil}, granted: []string{"oil", "secret"}, user: "alice"},
		"hidden from a stranger":  {objects: []*corev1.Namespace{oil, namespace("secret")}, user: "stranger"},
		"hidden at a revision":    {objects: []*corev1.Namespace{namespace("secret")}, user: "alice", options: metav1.GetOptions{ResourceVersion: "42"}},
		"absent at a revision":    {user: "alice", options: metav1.GetOptions{ResourceVersion: "42"}},
		"terminating and hidden":  {objects: []*corev1.Namespace{namespace("secret", terminating)}, user: "alice"},
		"hidden by the only name": {objects: []*corev1.Namespace{namespace("secret")}, granted: []string{"secret2"}, user: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, test.objects, test.granted...)
			object, err := r.Get(as(t, test.user), "secret", &test.options)
			assert.Nil(t, object)
			assert.JSONEq(t, `{
				"metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
				"message": "tenantnamespaces.tenancy.capsule.io \"secret\" not found",
				"details": {"name": "secret", "group": "tenancy.capsule.io", "kind": "tenantnamespaces"}
			}`, string(statusJSON(t, err)))
		})
	}
}

// TestResultsAreCopies holds the storage to keeping to itself what the framework
// writes to.
func TestResultsAreCopies(t *testing.T) {
	t.Parallel()
	r := newReader(t, []*corev1.Namespace{namespace("oil")}, "oil")
	ctx := as(t, "alice")
	spoil := func(n *v1alpha1.TenantNamespace) {
		n.TypeMeta = metav1.TypeMeta{APIVersion: "spoilt", Kind: "Spoilt"}
		n.Name, n.ResourceVersion, n.Labels = "spoilt", "spoilt", nil
		n.Status.Phase = "Spoilt"
	}
	wantObject, wantList := get(ctx, t, r, "oil").DeepCopy(), list(ctx, t, r, &metainternalversion.ListOptions{}).DeepCopy()
	assert.Empty(t, wantObject.TypeMeta)

	spoil(get(ctx, t, r, "oil"))
	spoil(&list(ctx, t, r, &metainternalversion.ListOptions{}).Items[0])

	if diff := cmp.Diff(wantObject, get(ctx, t, r, "oil")); diff != "" {
		t.Errorf("the next GET (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantList, list(ctx, t, r, &metainternalversion.ListOptions{})); diff != "" {
		t.Errorf("the next LIST (-want +got):\n%s", diff)
	}
}

// TestConcurrentEncodes is for the race detector: an encoder writes the kind into
// the root of what it is given.
func TestConcurrentEncodes(t *testing.T) {
	t.Parallel()
	r := newReader(t, []*corev1.Namespace{namespace("gas"), namespace("oil")}, "oil", "gas")
	ctx := as(t, "alice")
	var running sync.WaitGroup
	for _, encoder := range encoders(t) {
		for range 4 {
			running.Go(func() {
				for range 50 {
					object, err := r.Get(ctx, "oil", &metav1.GetOptions{})
					if assert.NoError(t, err) {
						assert.NoError(t, encoder.Encode(object, &bytes.Buffer{}))
					}
					list, err := r.List(ctx, &metainternalversion.ListOptions{})
					if assert.NoError(t, err) {
						assert.NoError(t, encoder.Encode(list, &bytes.Buffer{}))
						list.(*v1alpha1.TenantNamespaceList).Items[0].TypeMeta = metav1.TypeMeta{Kind: "TenantNamespace"}
					}
				}
			})
		}
	}
	running.Wait()
}

func TestList(t *testing.T) {
	t.Parallel()
	objects := []*corev1.Namespace{
		namespace("wind", terminating),
		namespace("gas", labeled(TenantLabel, "gas")),
		namespace("oil-prod", labeled(TenantLabel, "oil"), labeled("stage", "prod")),
		namespace("oil-dev", labeled(TenantLabel, "oil"), terminating),
	}
	visible := []string{"oil-prod", "oil-dev", "wind", "does-not-exist"}
	for name, test := range map[string]struct {
		groups []string
		labels string
		fields string
		want   []string
	}{
		"what alice may get":          {want: []string{"oil-dev", "oil-prod", "wind"}},
		"what admins may get":         {groups: []string{"admins"}, want: []string{"gas", "oil-dev", "oil-prod", "wind"}},
		"by label":                    {labels: TenantLabel + "=oil", want: []string{"oil-dev", "oil-prod"}},
		"by labels":                   {labels: TenantLabel + "=oil,stage!=prod", want: []string{"oil-dev"}},
		"by label, of admins":         {groups: []string{"admins"}, labels: TenantLabel, want: []string{"gas", "oil-dev", "oil-prod"}},
		"by a label of what's hidden": {labels: TenantLabel + "=gas", want: []string{}},
		"by name":                     {fields: "metadata.name=wind", want: []string{"wind"}},
		"by a hidden name":            {fields: "metadata.name=gas", want: []string{}},
		"by the name of nothing":      {fields: "metadata.name=does-not-exist", want: []string{}},
		"by another name":             {fields: "metadata.name!=wind", want: []string{"oil-dev", "oil-prod"}},
		"by phase":                    {fields: "status.phase=Terminating", want: []string{"oil-dev", "wind"}},
		"by another phase":            {fields: "status.phase!=Terminating", want: []string{"oil-prod"}},
		"by phase, of admins":         {groups: []string{"admins"}, fields: "status.phase=Active", want: []string{"gas", "oil-prod"}},
		"by name and phase":           {fields: "metadata.name=wind,status.phase=Active", want: []string{}},
		"by label and phase":          {labels: TenantLabel + "=oil", fields: "status.phase=Active", want: []string{"oil-prod"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, objects, visible...)
			options := &metainternalversion.ListOptions{}
			var err error
			options.LabelSelector, err = labels.Parse(test.labels)
			require.NoError(t, err)
			options.FieldSelector, err = fields.ParseSelector(test.fields)
			require.NoError(t, err)

			got := list(as(t, "alice", test.groups...), t, r, options)
			if diff := cmp.Diff(test.want, namesOf(got)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			assert.Equal(t, revision, got.ResourceVersion)
			for _, item := range got.Items {
				assert.Empty(t, item.TypeMeta, "the kind of an item")
				assert.Equal(t, "42", item.ResourceVersion, "its own revision")
			}
		})
	}
}

// TestEmptyList holds lists without items to an empty array: null breaks clients.
func TestEmptyList(t *testing.T) {
	t.Parallel()
	none, err := labels.Parse("no=such")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		user    string
		objects []*corev1.Namespace
		options metainternalversion.ListOptions
	}{
		"nothing is visible":  {user: "stranger", objects: []*corev1.Namespace{namespace("oil")}},
		"nothing matches":     {user: "alice", objects: []*corev1.Namespace{namespace("oil")}, options: metainternalversion.ListOptions{LabelSelector: none}},
		"nothing exists":      {user: "alice"},
		"nothing on one page": {user: "stranger", objects: []*corev1.Namespace{namespace("oil")}, options: metainternalversion.ListOptions{Limit: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := list(as(t, test.user), t, newReader(t, test.objects, "oil"), &test.options)
			assert.NotNil(t, got.Items)
			assert.Empty(t, got.Items)
			var data bytes.Buffer
			require.NoError(t, encoders(t)[runtime.ContentTypeJSON].Encode(got, &data))
			assert.JSONEq(t, `{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"100"},"items":[]}`, data.String())
		})
	}
}

// TestPages holds the pages of a list to one revision and to saying nothing about
// how much there is that the user cannot see.
func TestPages(t *testing.T) {
	t.Parallel()
	objects := []*corev1.Namespace{namespace("a"), namespace("b"), namespace("hidden"), namespace("m"), namespace("y"), namespace("z")}
	for name, test := range map[string]struct {
		groups []string
		limit  int64
		want   [][]string
	}{
		"no limit":             {limit: 0, want: [][]string{{"a", "b", "m", "y", "z"}}},
		"pages of one":         {limit: 1, want: [][]string{{"a"}, {"b"}, {"m"}, {"y"}, {"z"}}},
		"pages of two":         {limit: 2, want: [][]string{{"a", "b"}, {"m", "y"}, {"z"}}},
		"pages of two, admins": {groups: []string{"admins"}, limit: 2, want: [][]string{{"a", "b"}, {"hidden", "m"}, {"y", "z"}}},
		"one full page":        {limit: 5, want: [][]string{{"a", "b", "m", "y", "z"}}},
		"more than there is":   {limit: 500, want: [][]string{{"a", "b", "m", "y", "z"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, objects, "a", "b", "m", "y", "z")
			options := &metainternalversion.ListOptions{Limit: test.limit}
			var got [][]string
			for more := true; more; more = options.Continue != "" {
				page := list(as(t, "alice", test.groups...), t, r, options)
				got = append(got, namesOf(page))
				assert.Nil(t, page.RemainingItemCount)
				assert.Equal(t, revision, page.ResourceVersion)
				options.Continue = page.Continue

				var data bytes.Buffer
				require.NoError(t, encoders(t)[runtime.ContentTypeJSON].Encode(page, &data))
				assert.NotContains(t, data.String(), "remainingItemCount")
				assert.Equal(t, 1, strings.Count(data.String(), `"kind"`), "the list has a kind and its items have none")
				require.LessOrEqual(t, len(got), len(objects), "pages without end")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRevisions holds lists to the revisions that they are asked for.
func TestRevisions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options metainternalversion.ListOptions
		want    metav1.StatusReason
		code    int32
	}{
		"any":                      {options: metainternalversion.ListOptions{ResourceVersion: "0"}},
		"the present one":          {options: metainternalversion.ListOptions{ResourceVersion: revision}},
		"an older one, at least":   {options: metainternalversion.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}},
		"an older one, exactly":    {options: metainternalversion.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchExact}, want: metav1.StatusReasonExpired, code: http.StatusGone},
		"the present one, exactly": {options: metainternalversion.ListOptions{ResourceVersion: revision, ResourceVersionMatch: metav1.ResourceVersionMatchExact}},
		"no number":                {options: metainternalversion.ListOptions{ResourceVersion: "x"}, want: metav1.StatusReasonBadRequest, code: http.StatusBadRequest},
		"no token":                 {options: metainternalversion.ListOptions{Continue: "x"}, want: metav1.StatusReasonBadRequest, code: http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := newReader(t, []*corev1.Namespace{namespace("oil")}, "oil").List(as(t, "alice"), &test.options)
			if test.want == "" {
				require.NoError(t, err)
				assert.Equal(t, []string{"oil"}, namesOf(object.(*v1alpha1.TenantNamespaceList)))
				return
			}
			assert.Nil(t, object)
			assert.Equal(t, test.want, apierrors.ReasonForError(err), err)
			assert.Equal(t, test.code, statusOf(t, err).Code)
		})
	}
}

func TestFieldLabels(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	require.NoError(t, AddFieldLabels(scheme))
	for _, test := range []struct{ kind, label, want string }{
		{"TenantNamespace", "metadata.name", ""},
		{"TenantNamespace", "status.phase", ""},
		{"TenantNamespace", "metadata.namespace", "field label not supported: metadata.namespace"},
		{"TenantNamespace", "name", "field label not supported: name"},
		{"TenantNamespace", "bogus", "field label not supported: bogus"},
		{"TenantNamespace", "", "field label not supported: "},
		{"TenantNode", "spec.unschedulable", ""},
		{"TenantNode", "status.phase", "field label not supported: status.phase"},
		{"TenantPersistentVolume", "metadata.name", ""},
		{"TenantPersistentVolume", "metadata.namespace", ""},
		{"TenantPersistentVolume", "name", `"name" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"MyTenant", "metadata.name", ""},
		{"MyTenant", "metadata.namespace", "field label not supported: metadata.namespace"},
	} {
		t.Run(test.kind+"/"+test.label, func(t *testing.T) {
			t.Parallel()
			label, value, err := scheme.ConvertFieldLabel(v1alpha1.SchemeGroupVersion.WithKind(test.kind), test.label, "v")
			if test.want != "" {
				assert.EqualError(t, err, test.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.label, label)
			assert.Equal(t, "v", value)
		})
	}
}

func TestSelectable(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]struct {
		has   bool
		value string
	}{
		"metadata.name":      {true, "oil"},
		"status.phase":       {true, "Active"},
		"metadata.namespace": {},
		"bogus":              {},
	} {
		got := namespaces.fieldsOf((*v1alpha1.TenantNamespace)(namespace("oil")))
		assert.Equal(t, want.has, got.Has(field), field)
		assert.Equal(t, want.value, got.Get(field), field)
	}
}

// TestResources is what discovery is made of.
func TestResources(t *testing.T) {
	t.Parallel()
	var resources []string
	for _, resource := range Resources() {
		assert.Equal(t, "tenancy.capsule.io", resource.Group)
		resources = append(resources, resource.Resource)
	}
	assert.Equal(t, []string{
		"tenantnamespaces", "tenantnodes", "tenantpersistentvolumes", "tenantstorageclasses",
		"tenantingressclasses", "tenantpriorityclasses", "tenantruntimeclasses", "mytenants",
	}, resources)

	assert.Equal(t, []string{"mytenants"}, ResourcesWithoutProtobuf())

	r := newReader(t, nil).(rest.Storage)
	assert.IsType(t, &v1alpha1.TenantNamespace{}, r.New())
	assert.False(t, r.(rest.Scoper).NamespaceScoped())
	assert.Equal(t, "tenantnamespace", r.(rest.SingularNameProvider).GetSingularName())
	assert.Equal(t, []string{"tns"}, r.(rest.ShortNamesProvider).ShortNames())
	assert.Equal(t, []string{"tenancy"}, r.(rest.CategoriesProvider).Categories())

	// A verb is advertised for every interface.
	_, watches := r.(rest.Watcher)
	_, creates := r.(rest.Creater) //nolint:misspell // the interface's name
	_, updates := r.(rest.Updater)
	_, deletes := r.(rest.GracefulDeleter)
	_, empties := r.(rest.CollectionDeleter)
	assert.True(t, watches)
	assert.False(t, creates || updates || deletes || empties, "get, list and watch, nothing else")
}

// TestNew runs views as the server does: an API server on one side, requests on the other.
func TestNew(t *testing.T) {
	t.Parallel()
	client := newClient(append(grants("oil"), namespace("oil"), namespace("gas"))...)
	now := clocktesting.NewFakeClock(time.Now())
	index, accessReady := newIndex(t, client)
	var notReady error
	views := New(Dependencies{Index: index, Clients: clientsOf(t, client), Clock: now, AccessReady: func() error {
		if notReady != nil {
			return notReady
		}
		return accessReady()
	}})
	require.Len(t, views, len(table()))
	v := views[0]
	assert.Equal(t, "tenantnamespaces", v.Resource)
	assert.Equal(t, "namespaces", v.Feed.Name())
	r := v.Storage.(reader)
	alice := as(t, "alice")

	_, err := r.List(alice, &metainternalversion.ListOptions{})
	assert.Equal(t, int32(http.StatusServiceUnavailable), statusOf(t, err).Code, "before the objects have been read: %v", err)
	assert.Zero(t, v.Objects())

	runFeeds(t, v.Feed)
	require.Eventually(t, func() bool { return v.Feed.Check() == nil }, patience, time.Millisecond)
	assert.Equal(t, 2, v.Objects())
	assert.Equal(t, []string{"oil"}, namesOf(list(alice, t, r, &metainternalversion.ListOptions{})))

	// A change of access reaches the view.
	binding := grants("gas")[2]
	require.NoError(t, client.Tracker().Add(binding))
	require.Eventually(t, func() bool { return len(list(alice, t, r, &metainternalversion.ListOptions{}).Items) == 2 }, patience, time.Millisecond, "the grant")
	require.NoError(t, client.RbacV1().RoleBindings("gas").Delete(t.Context(), "alice", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return len(list(alice, t, r, &metainternalversion.ListOptions{}).Items) == 1 }, patience, time.Millisecond, "the revocation")

	// So do changes of objects.
	require.NoError(t, client.CoreV1().Namespaces().Delete(t.Context(), "gas", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return v.Objects() == 1 }, patience, time.Millisecond, "the deletion")

	notReady = errors.New("roles: no sign of life")
	_, err = r.List(alice, &metainternalversion.ListOptions{})
	assert.ErrorContains(t, err, "roles: no sign of life", "while the index is not current")
	notReady = nil

	now.Step(time.Hour)
	_, err = r.Get(alice, "oil", &metav1.GetOptions{})
	assert.Equal(t, int32(http.StatusServiceUnavailable), statusOf(t, err).Code, "while the API server is silent: %v", err)
	_, err = r.List(alice, &metainternalversion.ListOptions{})
	assert.Equal(t, int32(http.StatusServiceUnavailable), statusOf(t, err).Code, "while the API server is silent: %v", err)
}

// TestGivenUp holds a read that waits to its request.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(as(t, "alice"))
	cancel()
	r := newReader(t, []*corev1.Namespace{namespace("oil")}, "oil")
	_, err := r.Get(ctx, "oil", &metav1.GetOptions{ResourceVersion: "101"})
	assert.True(t, apierrors.IsTimeout(err), err)
	_, err = r.List(ctx, &metainternalversion.ListOptions{ResourceVersion: "101"})
	assert.True(t, apierrors.IsTimeout(err), err)
}

func assertStatus(tb testing.TB, want metav1.Status, err error) {
	tb.Helper()
	if diff := cmp.Diff(want, statusOf(tb, err)); diff != "" {
		tb.Errorf("status (-want +got):\n%s", diff)
	}
}

func statusOf(tb testing.TB, err error) metav1.Status {
	tb.Helper()
	var status apierrors.APIStatus
	require.ErrorAs(tb, err, &status)
	return status.Status()
}

func statusJSON(tb testing.TB, err error) []byte {
	tb.Helper()
	data, err := json.Marshal(statusOf(tb, err))
	require.NoError(tb, err)
	return data
}
