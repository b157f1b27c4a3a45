// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	tenancy "tenancy.capsule.io/generated/clientset/versioned"
	"tenancy.capsule.io/generated/informers/externalversions"
)

// selection is what a client selects; empty for everything.
type selection struct{ label, field string }

func (s selection) tweak(o *metav1.ListOptions) { o.LabelSelector, o.FieldSelector = s.label, s.field }

// matches judges an object as the API server would.
func (s selection) matches(t *testing.T, of *resource, o object) bool {
	t.Helper()
	byLabel, err := labels.Parse(s.label)
	require.NoError(t, err)
	byField, err := fields.ParseSelector(s.field)
	require.NoError(t, err)
	set := of.fields(o)
	set["metadata.name"] = o.GetName()
	return byLabel.Matches(labels.Set(o.GetLabels())) && byField.Matches(set)
}

// client is a program of a user that follows a view.
type client struct {
	name string
	of   *resource
	user identity
	selection
	record *record
	held   func() objects
	// namesOnly is whether the client knows of an object its name and no more.
	namesOnly bool
}

// kind is a way to follow a view. It makes a client's cache run until the test is
// over, and returns what it holds.
type kind struct {
	name  string
	start func(*testing.T, *resource, *rest.Config, selection) func() objects
	// streams is whether initial events are asked for as a watch.
	streams bool
}

var (
	// informer is the generated informer: what client-go does today.
	informer = kind{name: "informer", start: startInformer, streams: true}
	// protobufInformer is the same in the other encoding.
	protobufInformer = kind{name: "protobuf", streams: true, start: func(t *testing.T, of *resource, config *rest.Config, s selection) func() objects {
		t.Helper()
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf
		return startInformer(t, of, config, s)
	}}
	// listInformer lists and watches, as client-go did before WatchList.
	listInformer = kind{name: "list-informer", start: startListInformer}
	// controllerRuntime is what controllers hold.
	controllerRuntime = kind{name: "controller-runtime", start: startControllerRuntime, streams: true}
)

func startInformer(t *testing.T, of *resource, config *rest.Config, s selection) func() objects {
	t.Helper()
	client, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithTweakListOptions(s.tweak))
	generic, err := factory.ForResource(of.view)
	require.NoError(t, err)
	return runInformer(t, generic.Informer())
}

// withoutWatchList is a client whose informers list and watch.
type withoutWatchList struct{}

// IsWatchListSemanticsUnSupported is what client-go asks clients.
func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

func startListInformer(t *testing.T, of *resource, config *rest.Config, s selection) func() objects {
	t.Helper()
	client, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	view := cache.NewFilteredListWatchFromClient(client.TenancyV1alpha1().RESTClient(), of.view.Resource, metav1.NamespaceNone, s.tweak)
	return runInformer(t, cache.NewSharedIndexInformer(
		cache.ToListWatcherWithWatchListSemantics(view, withoutWatchList{}), of.new(), 0, cache.Indexers{}))
}

func runInformer(t *testing.T, shared cache.SharedIndexInformer) func() objects {
	t.Helper()
	background(t, shared.RunWithContext)
	return func() objects {
		held := objects{}
		for _, o := range shared.GetStore().List() {
			held.put(o.(object))
		}
		return held
	}
}

func startControllerRuntime(t *testing.T, of *resource, config *rest.Config, s selection) func() objects {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	kinds, _, err := scheme.ObjectKinds(of.new())
	require.NoError(t, err)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.AddSpecific(kinds[0], of.view, of.view, meta.RESTScopeRoot)
	byObject := ctrlcache.ByObject{}
	if s.label != "" {
		byObject.Label, err = labels.Parse(s.label)
		require.NoError(t, err)
	}
	if s.field != "" {
		byObject.Field, err = fields.ParseSelector(s.field)
		require.NoError(t, err)
	}
	c, err := ctrlcache.New(config, ctrlcache.Options{
		Scheme: scheme, Mapper: mapper,
		ByObject: map[ctrlclient.Object]ctrlcache.ByObject{of.new(): byObject},
	})
	require.NoError(t, err)
	// A cache starts informers when it is started, or asked.
	background(t, func(ctx context.Context) {
		if err := c.Start(ctx); err != nil {
			t.Errorf("run cache of controller-runtime: %v", err)
		}
	})
	_, err = c.GetInformer(t.Context(), of.new(), ctrlcache.BlockUntilSynced(false))
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	return func() objects {
		list := of.newList()
		if err := c.List(ctx, list); err != nil {
			return nil
		}
		held := objects{}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			held.put(o.(object))
			return nil
		}); err != nil {
			return nil
		}
		return held
	}
}

// background runs a function that ends with its context until the test is over.
func background(t *testing.T, run func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// streamsInitialEvents reports whether a client asked for its initial events as a
// watch.
func (c *client) streamsInitialEvents(t *testing.T) bool {
	t.Helper()
	return bytes.Contains(c.record.content(t), []byte("sendInitialEvents=true"))
}
