// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

var configMapKind = corev1.SchemeGroupVersion.WithKind("ConfigMap")

func TestHasMetadata(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(
			`{"f:data":{"f:x":{}},"f:metadata":{"f:labels":{".":{},"f:a":{},"f:b":{}},"f:annotations":{"f:n":{}}}}`)}
	}
	applied, created, theirs := entry(FieldManager, "Apply"), entry(FieldManager, "Update"), entry("kubectl", "Apply")
	unreadable := metav1.ManagedFieldsEntry{Manager: FieldManager, Operation: "Apply", FieldsV1: metav1.NewFieldsV1("{")}
	ofStatus := entry(FieldManager, "Apply")
	ofStatus.Subresource = "status"
	for name, test := range map[string]struct {
		labels, annotations map[string]string
		managed             []metav1.ManagedFieldsEntry
		want                bool
	}{
		"as wanted":          {labels: map[string]string{"a": "1"}, want: true},
		"missing":            {},
		"another value":      {labels: map[string]string{"a": "2"}},
		"theirs":             {labels: map[string]string{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{theirs}, want: true},
		"once applied":       {labels: map[string]string{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{theirs, applied}},
		"once created":       {labels: map[string]string{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{created}},
		"added to ours":      {labels: map[string]string{"a": "1", "c": "1"}, managed: []metav1.ManagedFieldsEntry{applied}, want: true},
		"in the status":      {labels: map[string]string{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{ofStatus}, want: true},
		"unreadable":         {labels: map[string]string{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{unreadable}, want: true},
		"annotation, theirs": {labels: map[string]string{"a": "1"}, annotations: map[string]string{"n": "1"}, want: true},
		"annotation, ours":   {labels: map[string]string{"a": "1"}, annotations: map[string]string{"n": "1"}, managed: []metav1.ManagedFieldsEntry{applied}},
	} {
		t.Run(name, func(t *testing.T) {
			object := &metav1.ObjectMeta{Labels: test.labels, Annotations: test.annotations, ManagedFields: test.managed}
			if got := HasMetadata(object, map[string]string{"a": "1"}, nil); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
		})
	}
}

// TestHasApplied is about namespaces: what counts as the controller's is what it applied.
func TestHasApplied(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, labels string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":` + labels + `}}`)}
	}
	first := configMap(values{"a": "1"}, nil)
	first.ManagedFields = []metav1.ManagedFieldsEntry{entry(FieldManager, "Apply", `{".":{},"f:a":{}}`)}
	for name, test := range map[string]struct {
		labels     values
		managed    []metav1.ManagedFieldsEntry
		want, same bool
		wantOthers values
	}{
		"applied": {
			labels: values{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{entry("kubectl", "Apply", `{"f:b":{}}`), entry(FieldManager, "Apply", `{"f:a":{}}`)},
			want: true, same: true, wantOthers: values{"b": "1"},
		},
		"another value": {
			labels: values{"a": "2"}, managed: []metav1.ManagedFieldsEntry{entry(FieldManager, "Apply", `{"f:a":{}}`)}, same: true, wantOthers: values{},
		},
		"not wanted any more": {
			labels: values{"a": "1", "b": "1"}, managed: []metav1.ManagedFieldsEntry{entry(FieldManager, "Apply", `{"f:a":{},"f:b":{}}`)}, wantOthers: values{},
		},
		"written by the controller's name": {
			labels:  values{"a": "1", "b": "1"},
			managed: []metav1.ManagedFieldsEntry{entry(FieldManager, "Apply", `{"f:a":{}}`), entry(FieldManager, "Update", `{"f:b":{}}`)},
			want:    true, same: true, wantOthers: values{"b": "1"},
		},
		"managedFields taken away": {labels: values{"a": "1"}, want: true, wantOthers: values{"a": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			object := configMap(test.labels, nil)
			object.ManagedFields = test.managed
			if got := HasApplied(object, values{"a": "1"}, nil); got != test.want {
				t.Errorf("want %v, got %v", test.want, got)
			}
			if diff := cmp.Diff(test.wantOthers, LabelsOfOthers(object)); diff != "" {
				t.Errorf("labels of others (-want +got):\n%s", diff)
			}
			if got := SameApplied(first, object); got != test.same {
				t.Errorf("want the same to be applied: %v, got %v", test.same, got)
			}
		})
	}
}

// cluster is an Applier and what it wrote.
type cluster struct {
	Applier

	writes []string
}

func newCluster(tb testing.TB, given ...client.Object) *cluster {
	tb.Helper()
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	c := &cluster{}
	underlying := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(given...).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.CreateOption) error {
				c.writes = append(c.writes, "create")
				return underlying.Create(ctx, object, options...)
			},
			Apply: func(ctx context.Context, underlying client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
				c.writes = append(c.writes, "apply")
				return underlying.Apply(ctx, wanted, options...)
			},
			Patch: func(ctx context.Context, underlying client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
				c.writes = append(c.writes, "take")
				return underlying.Patch(ctx, object, patch, options...)
			},
		}).Build()
	c.Applier = Applier{underlying, underlying}
	return c
}

func configMap(labels, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x", Labels: labels}, Data: data}
}

// make makes the ConfigMap as it is wanted.
func (c *cluster) make(ctx context.Context, labels, data map[string]string) error {
	return c.Make(ctx, configMap(labels, data), wanted(labels, data), configMapKind)
}

func wanted(labels, data map[string]string) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap("x", "default").WithLabels(labels).WithData(data)
}

func (c *cluster) get(ctx context.Context, tb testing.TB) *corev1.ConfigMap {
	tb.Helper()
	is := &corev1.ConfigMap{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "x"}, is); err != nil {
		tb.Fatal(err)
	}
	return is
}

func (c *cluster) check(ctx context.Context, tb testing.TB, wantWrites []string, wantLabels, wantData map[string]string) {
	tb.Helper()
	if diff := cmp.Diff(wantWrites, c.writes); diff != "" {
		tb.Errorf("writes (-want +got):\n%s", diff)
	}
	c.writes = nil
	is := c.get(ctx, tb)
	if diff := cmp.Diff([2]map[string]string{wantLabels, wantData}, [2]map[string]string{is.Labels, is.Data}); diff != "" {
		tb.Errorf("labels, data (-want +got):\n%s", diff)
	}
}

type values = map[string]string

func TestMake(t *testing.T) {
	ctx := t.Context()
	t.Run("what is not there", func(t *testing.T) {
		c := newCluster(t)
		if err := c.make(ctx, values{"a": "1", "b": "1"}, values{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		c.check(ctx, t, []string{"create"}, values{"a": "1", "b": "1"}, values{"k": "v"})

		// It is applied from its first change on, and loses what is not wanted.
		if err := c.ApplyKnown(ctx, wanted(values{"a": "2"}, values{"k": "v"}), configMapKind, c.get(ctx, t)); err != nil {
			t.Fatal(err)
		}
		c.check(ctx, t, []string{"take", "apply"}, values{"a": "2"}, values{"k": "v"})
		if err := c.ApplyKnown(ctx, wanted(values{"c": "3"}, values{"k": "v"}), configMapKind, c.get(ctx, t)); err != nil {
			t.Fatal(err)
		}
		c.check(ctx, t, []string{"apply"}, values{"c": "3"}, values{"k": "v"})
	})
	t.Run("what says the same is adopted", func(t *testing.T) {
		c := newCluster(t, configMap(values{"theirs": "x"}, values{"k": "v"}))
		if err := c.make(ctx, values{"a": "1"}, values{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		c.check(ctx, t, []string{"create", "apply"}, values{"a": "1", "theirs": "x"}, values{"k": "v"})
	})
	t.Run("what says something else is not touched", func(t *testing.T) {
		c := newCluster(t, configMap(values{"theirs": "x"}, values{"k": "theirs"}))
		err := c.make(ctx, values{"a": "1"}, values{"k": "v"})
		if _, ok := errors.AsType[*ForeignError](err); !ok || err.Error() != "ConfigMap default/x exists and is not the controller's: a cluster administrator has to delete it" {
			t.Errorf("want a ForeignError, got %v", err)
		}
		c.check(ctx, t, []string{"create", "apply"}, values{"theirs": "x"}, values{"k": "theirs"})
	})
	t.Run("what was made once is taken back", func(t *testing.T) {
		c := newCluster(t)
		if err := c.make(ctx, values{"a": "1"}, values{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		edited := c.get(ctx, t)
		edited.Labels, edited.Data = values{"theirs": "x"}, values{"k": "theirs"}
		if err := c.Update(ctx, edited, client.FieldOwner("them")); err != nil {
			t.Fatal(err)
		}
		c.writes = nil
		if err := c.make(ctx, values{"a": "1"}, values{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		c.check(ctx, t, []string{"create", "apply", "take", "apply"}, values{"a": "1", "theirs": "x"}, values{"k": "v"})
	})
}

func TestDeleteExactly(t *testing.T) {
	is := configMap(nil, nil)
	is.UID = "1"
	var asked []types.UID
	underlying := interceptor.NewClient(fake.NewClientBuilder().WithObjects(is).Build(), interceptor.Funcs{
		Delete: func(ctx context.Context, underlying client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			asked = append(asked, *new(client.DeleteOptions).ApplyOptions(options).Preconditions.UID)
			return underlying.Delete(ctx, object, options...)
		},
	})
	for range 2 {
		if err := (Applier{underlying, underlying}).DeleteExactly(t.Context(), is); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]types.UID{"1", "1"}, asked); diff != "" {
		t.Errorf("UIDs (-want +got):\n%s", diff)
	}
}

func TestName(t *testing.T) {
	for want, key := range map[string]client.ObjectKey{"x": {Name: "x"}, "a/x": {Namespace: "a", Name: "x"}} {
		if got := Name(key); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}
