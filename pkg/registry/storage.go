// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/internal/metrics"
	"tenancy.capsule.io/pkg/view"
)

// readyRetry is what a client is told to wait for while a view is not ready, in seconds.
const readyRetry = 1

// strategy is what the storage of a kind needs of its definition.
type strategy[T any] struct {
	tables
	singular, shortName string
	newList             func(metav1.ListMeta, []T) runtime.Object
}

// storage serves one view. It is the same for every kind.
type storage[T any, P object[T]] struct {
	strategy[T]
	view *view.View[P, access.Subject]
	// ready returns an error while the view cannot answer.
	ready func() error
	limit *watchLimit
}

var (
	_ rest.Storage              = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.Scoper               = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.SingularNameProvider = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.ShortNamesProvider   = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.CategoriesProvider   = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.Getter               = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.Lister               = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
	_ rest.Watcher              = &storage[v1alpha1.TenantNamespace, *v1alpha1.TenantNamespace]{}
)

func newStorage[T any, P object[T]](s strategy[T], v *view.View[P, access.Subject], ready func() error, limit *watchLimit) *storage[T, P] {
	return &storage[T, P]{strategy: s, view: v, ready: ready, limit: limit}
}

func (d definition[T, P, N]) strategy() strategy[T] {
	return strategy[T]{
		tables: tables{
			resource: d.resource(),
			columns:  d.columns,
			cells: func(object runtime.Object) ([]any, error) {
				p, ok := object.(P)
				if !ok {
					return nil, fmt.Errorf("no columns for %T in a table of %s", object, d.plural)
				}
				return d.cells(p)
			},
		},
		singular:  d.singular,
		shortName: d.shortName,
		newList:   d.newList,
	}
}

// New returns an empty object.
func (s *storage[T, P]) New() runtime.Object { return P(new(T)) }

// NewList returns an empty list.
func (s *storage[T, P]) NewList() runtime.Object { return s.newList(metav1.ListMeta{}, nil) }

// Destroy has nothing to do: the view's feed ends with the server's context.
func (s *storage[T, P]) Destroy() {}

// NamespaceScoped returns false: what is viewed is cluster-scoped.
func (s *storage[T, P]) NamespaceScoped() bool { return false }

// GetSingularName returns the singular that kubectl accepts.
func (s *storage[T, P]) GetSingularName() string { return s.singular }

// ShortNames returns the abbreviation that kubectl accepts.
func (s *storage[T, P]) ShortNames() []string { return []string{s.shortName} }

// Categories makes "kubectl get tenancy" show every view.
func (s *storage[T, P]) Categories() []string { return []string{"tenancy"} }

// Get returns the object of a name. What the user may not get does not exist:
// the error is the same, 404.
func (s *storage[T, P]) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	_, subjects, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	object, found, err := s.view.Get(ctx, subjects, name, options.ResourceVersion)
	if err != nil {
		return nil, storeerrors.InterpretGetError(err, s.resource, name)
	}
	if !found {
		return nil, apierrors.NewNotFound(s.resource, name)
	}
	return shallowCopy[T](object), nil
}

// List returns the objects that the user may get and that match the options.
func (s *storage[T, P]) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	_, subjects, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	list, err := s.view.List(ctx, subjects, view.ListOptions{
		ResourceVersion:      options.ResourceVersion,
		ResourceVersionMatch: options.ResourceVersionMatch,
		Selection:            view.Selection{Labels: options.LabelSelector, Fields: options.FieldSelector},
		Limit:                options.Limit,
		Continue:             options.Continue,
	})
	if err != nil {
		return nil, storeerrors.InterpretListError(err, s.resource)
	}
	items := make([]T, len(list.Items))
	for i, object := range list.Items {
		items[i] = *object
	}
	metrics.ListDuration.WithLabelValues(s.resource.Resource).Observe(time.Since(start).Seconds())
	return s.newList(metav1.ListMeta{
		ResourceVersion: strconv.FormatUint(list.ResourceVersion, 10),
		Continue:        list.Continue,
	}, items), nil
}

// Watch returns the changes of what the user may get and that matches the
// options: of the objects, and of the user's access to them. The watch counts
// against the user's limit until the context is done, as it is when the request
// has ended, whatever became of the watch.
func (s *storage[T, P]) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	user, subjects, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.limit.acquire(ctx, user.GetName()); err != nil {
		return nil, err
	}
	w, err := s.view.Watch(ctx, subjects, view.WatchOptions{
		ResourceVersion:   options.ResourceVersion,
		Selection:         view.Selection{Labels: options.LabelSelector, Fields: options.FieldSelector},
		SendInitialEvents: options.SendInitialEvents,
		AllowBookmarks:    options.AllowWatchBookmarks,
	})
	if err != nil {
		return nil, storeerrors.InterpretWatchError(err, s.resource, "")
	}
	return w, nil
}

// reader returns the request's user and its subjects, or an error if there is no
// user or the view cannot answer yet.
func (s *storage[T, P]) reader(ctx context.Context) (user.Info, []access.Subject, error) {
	reader, ok := apirequest.UserFrom(ctx)
	if !ok {
		return nil, nil, apierrors.NewInternalError(errors.New("no user in the request"))
	}
	if err := s.ready(); err != nil {
		return nil, nil, unavailable(s.resource, err)
	}
	return reader, access.SubjectsOf(reader), nil
}

// unavailable returns a 503 that asks the client to come back. An empty list
// instead would empty the caches of clients.
func unavailable(resource schema.GroupResource, reason error) error {
	err := apierrors.NewServiceUnavailable(fmt.Sprintf("%s cannot be read now: %v", resource, reason))
	err.ErrStatus.Details = &metav1.StatusDetails{Group: resource.Group, Kind: resource.Resource, RetryAfterSeconds: readyRetry}
	return err
}

// selectable is an object as field selectors see it.
type selectable[T any, P object[T]] struct {
	object P
	fields map[string]func(P) string
}

func (d definition[T, P, N]) fieldsOf(object P) fields.Fields {
	return selectable[T, P]{object: object, fields: d.fields}
}

// Has reports whether the field may be selected by.
func (s selectable[T, P]) Has(field string) bool {
	_, ok := s.fields[field]
	return ok || field == metav1.ObjectNameField
}

// Get returns the field's value.
func (s selectable[T, P]) Get(field string) string {
	if field == metav1.ObjectNameField {
		return s.object.GetName()
	}
	if value, ok := s.fields[field]; ok {
		return value(s.object)
	}
	return ""
}
