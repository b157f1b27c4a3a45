// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/internal/feed"
	"tenancy.capsule.io/pkg/view"
)

// table holds every view that is served.
func table() []entry {
	return []entry{
		namespaces,
		nodes,
		persistentVolumes,
		storageClasses,
		ingressClasses,
		priorityClasses,
		runtimeClasses,
		myTenants,
	}
}

// definition is what a kind T, a view of the native kind N, differs in.
type definition[T any, P object[T], N feed.Object] struct {
	// plural, singular, shortName and kind are the names that the view is served by.
	plural, singular, shortName, kind string
	// native is the resource that is read, and that RBAC must allow a user to get.
	native schema.GroupResource
	source func(Dependencies) cache.ListerWatcher
	// fromNative converts without a copy.
	fromNative func(N) P
	newList    func(metav1.ListMeta, []T) runtime.Object
	// fields are the fields beyond metadata.name that field selectors may name. A
	// native kind that says which (see k8s.io/kubernetes/pkg/apis/core/v1/conversion.go),
	// or a custom resource, has no others; with nil it is as in
	// runtime.DefaultMetaV1FieldSelectorConversion.
	fields map[string]func(P) string
	// columns and cells are those that the API server prints of the native kind, see
	// k8s.io/kubernetes/pkg/printers/internalversion.
	columns []metav1.TableColumnDefinition
	cells   func(P) ([]any, error)
}

// object is what a pointer to a view kind has to be.
type object[T any] interface {
	*T
	feed.Object
}

// entry is a definition without its types.
type entry interface {
	gvk() schema.GroupVersionKind
	question() access.Question
	resource() schema.GroupResource
	// fieldLabels returns the names of the fields; false for the default ones.
	fieldLabels() ([]string, bool)
	hasProtobuf() bool
	install(Dependencies, *watchLimit) View
}

// Dependencies are what the views read from.
type Dependencies struct {
	// Index answers Questions.
	Index   *access.Index
	Clients Clients
	Clock   clock.WithTicker
	// AccessReady returns an error while the index is not complete and current.
	AccessReady func() error
	// MaxWatchesPerUser is how many watches a user may have open, of all views
	// together; 0 for any number.
	MaxWatchesPerUser int
}

// View is an installed view.
type View struct {
	// Resource is the plural that the view is served by.
	Resource string
	Storage  rest.Storage
	// Feed fills the view; it is for the caller to run.
	Feed *feed.Feed
	// Guard ends the open watches whenever the view cannot answer; it is for the
	// caller to run, and runs until the context is done.
	Guard func(context.Context)
	// Objects and Watches return the number of objects in the view and that of its
	// open watches.
	Objects, Watches func() int
}

// Questions returns what the views ask of an access index.
func Questions() []access.Question {
	var questions []access.Question
	for _, e := range table() {
		questions = append(questions, e.question())
	}
	return questions
}

// Resources returns the resources that are served.
func Resources() []schema.GroupResource {
	var resources []schema.GroupResource
	for _, e := range table() {
		resources = append(resources, e.resource())
	}
	return resources
}

// ResourcesWithoutProtobuf returns the plurals of the views whose kind has no
// protobuf: those of custom resources.
func ResourcesWithoutProtobuf() []string {
	var plurals []string
	for _, e := range table() {
		if !e.hasProtobuf() {
			plurals = append(plurals, e.resource().Resource)
		}
	}
	return plurals
}

// AddFieldLabels registers with the scheme which fields the field selectors of
// the view kinds may name: those of their native kinds.
func AddFieldLabels(scheme *runtime.Scheme) error {
	for _, e := range table() {
		convert := runtime.FieldLabelConversionFunc(runtime.DefaultMetaV1FieldSelectorConversion)
		if labels, named := e.fieldLabels(); named {
			convert = func(label, value string) (string, string, error) {
				if label == metav1.ObjectNameField || slices.Contains(labels, label) {
					return label, value, nil
				}
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
		}
		if err := scheme.AddFieldLabelConversionFunc(e.gvk(), convert); err != nil {
			return fmt.Errorf("add field labels of %s: %w", e.gvk().Kind, err)
		}
	}
	return nil
}

// New installs every view.
func New(d Dependencies) []View {
	var views []View
	limit := newWatchLimit(d.MaxWatchesPerUser)
	for _, e := range table() {
		views = append(views, e.install(d, limit))
	}
	return views
}

func (d definition[T, P, N]) gvk() schema.GroupVersionKind {
	return v1alpha1.SchemeGroupVersion.WithKind(d.kind)
}

func (d definition[T, P, N]) resource() schema.GroupResource { return v1alpha1.Resource(d.plural) }

func (d definition[T, P, N]) question() access.Question {
	return access.Question{Verb: "get", Resource: d.native}
}

func (d definition[T, P, N]) fieldLabels() ([]string, bool) {
	return slices.Sorted(maps.Keys(d.fields)), d.fields != nil
}

func (d definition[T, P, N]) hasProtobuf() bool {
	_, has := any(P(nil)).(runtime.ProtobufMarshaller)
	return has
}

func (d definition[T, P, N]) install(deps Dependencies, limit *watchLimit) View {
	v := view.New[P, access.Subject](d.viewKind(), deps.Index.Snapshot(d.question()), deps.Clock)
	deps.Index.Subscribe(d.question(), func(c access.Change) { v.AccessChanged(c.After, c.Names, c.Subjects) })
	f := feed.New(d.native.String(), d.source(deps), sink[T, P, N]{v, d.fromNative}, deps.Clock)
	ready := func() error {
		if err := deps.AccessReady(); err != nil {
			return err
		}
		return f.Check()
	}
	return View{
		Resource: d.plural,
		Storage:  newStorage(d.strategy(), v, ready, limit),
		Feed:     f,
		Guard:    func(ctx context.Context) { guard(ctx, deps.Clock, ready, v.EndWatches) },
		Objects:  v.Len,
		Watches:  v.Watches,
	}
}

func (d definition[T, P, N]) viewKind() view.Kind[P] {
	return view.Kind[P]{
		Resource:    d.plural,
		Fields:      d.fieldsOf,
		New:         func() P { return P(new(T)) },
		ShallowCopy: shallowCopy[T, P],
	}
}

// guardPeriod is how often a view is asked whether it can answer: how long its
// watches stay open at most when it cannot. A fault that is mended sooner ends no
// watch: what was missed is told as a difference.
const guardPeriod = time.Second

// Does not compile unless a replica that hears nothing has sent its clients away
// before others take it that they know what happened.
var _ = [1]struct{}{}[max(0, feed.MaxLag+guardPeriod-view.ReplicaLag)]

// guard calls end whenever ready returns an error, until the context is done.
func guard(ctx context.Context, clock clock.WithTicker, ready func() error, end func()) {
	ticker := clock.NewTicker(guardPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if ready() != nil {
			end()
		}
	}
}

// shallowCopy returns an object that shares all but its root: the encoder writes
// the kind into the root of what it is given.
func shallowCopy[T any, P object[T]](p P) P {
	root := *p
	return P(&root)
}

// sink hands native objects to a view.
type sink[T any, P object[T], N feed.Object] struct {
	*view.View[P, access.Subject]
	fromNative func(N) P
}

func (s sink[T, P, N]) Upsert(object N) { s.View.Upsert(s.fromNative(object)) }
func (s sink[T, P, N]) Delete(object N) { s.View.Delete(s.fromNative(object)) }
func (s sink[T, P, N]) Replace(objects []N, resourceVersion string) {
	views := make([]P, len(objects))
	for i, object := range objects {
		views[i] = s.fromNative(object)
	}
	s.View.Replace(views, resourceVersion)
}
