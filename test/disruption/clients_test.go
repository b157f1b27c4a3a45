// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
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

// matches judges a native object as the API server would.
func (s selection) matches(t *testing.T, namespace *corev1.Namespace) bool {
	t.Helper()
	byLabel, err := labels.Parse(s.label)
	require.NoError(t, err)
	byField, err := fields.ParseSelector(s.field)
	require.NoError(t, err)
	return byLabel.Matches(labels.Set(namespace.Labels)) && byField.Matches(fields.Set{
		"metadata.name": namespace.Name, "status.phase": string(namespace.Status.Phase),
	})
}

// namespaces are, by name, the namespaces that a client holds.
type namespaces map[string]*corev1.Namespace

// client is a program of a user that follows the view.
type client struct {
	name string
	user identity
	selection
	record *record
	held   func() namespaces
	// namesOnly is whether the client knows of a namespace its name and no more.
	namesOnly bool
}

// kind is a way to follow the view. It makes a client's cache run until the test
// is over, and returns what it holds.
type kind struct {
	name  string
	start func(*testing.T, *rest.Config, selection, *record) func() namespaces
	// streams is whether initial events are asked for as a watch.
	streams bool
}

var (
	// informer is the generated informer: what client-go does today.
	informer = kind{name: "informer", start: startInformer, streams: true}
	// protobufInformer is the same in the other encoding.
	protobufInformer = kind{name: "protobuf", streams: true, start: func(t *testing.T, config *rest.Config, s selection, r *record) func() namespaces {
		t.Helper()
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf
		return startInformer(t, config, s, r)
	}}
	// listInformer lists and watches, as client-go did before WatchList.
	listInformer = kind{name: "list-informer", start: startListInformer}
	// controllerRuntime is what controllers hold.
	controllerRuntime = kind{name: "controller-runtime", start: startControllerRuntime, streams: true}
)

func startInformer(t *testing.T, config *rest.Config, s selection, _ *record) func() namespaces {
	t.Helper()
	client, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithTweakListOptions(s.tweak))
	shared := factory.Tenancy().V1alpha1().TenantNamespaces().Informer()
	return runInformer(t, shared)
}

// withoutWatchList is a client whose informers list and watch.
type withoutWatchList struct{}

// IsWatchListSemanticsUnSupported is what client-go asks clients.
func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

func startListInformer(t *testing.T, config *rest.Config, s selection, _ *record) func() namespaces {
	t.Helper()
	client, err := tenancy.NewForConfig(config)
	require.NoError(t, err)
	view := client.TenancyV1alpha1().TenantNamespaces()
	return runInformer(t, cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			s.tweak(&o)
			return view.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			s.tweak(&o)
			return view.Watch(ctx, o)
		},
	}, withoutWatchList{}), &v1alpha1.TenantNamespace{}, 0, cache.Indexers{}))
}

func runInformer(t *testing.T, shared cache.SharedIndexInformer) func() namespaces {
	t.Helper()
	background(t, shared.RunWithContext)
	return func() namespaces {
		held := namespaces{}
		for _, object := range shared.GetStore().List() {
			held.put(object.(*v1alpha1.TenantNamespace))
		}
		return held
	}
}

func startControllerRuntime(t *testing.T, config *rest.Config, s selection, _ *record) func() namespaces {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.SchemeGroupVersion.WithKind("TenantNamespace"), meta.RESTScopeRoot)
	byObject := ctrlcache.ByObject{}
	var err error
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
		ByObject: map[ctrlclient.Object]ctrlcache.ByObject{&v1alpha1.TenantNamespace{}: byObject},
	})
	require.NoError(t, err)
	// A cache starts informers when it is started, or asked.
	background(t, func(ctx context.Context) {
		if err := c.Start(ctx); err != nil {
			t.Errorf("run cache of controller-runtime: %v", err)
		}
	})
	_, err = c.GetInformer(t.Context(), &v1alpha1.TenantNamespace{}, ctrlcache.BlockUntilSynced(false))
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	return func() namespaces {
		var list v1alpha1.TenantNamespaceList
		if err := c.List(ctx, &list); err != nil {
			return nil
		}
		held := namespaces{}
		for i := range list.Items {
			held.put(&list.Items[i])
		}
		return held
	}
}

// put adds an object of the view under its native kind.
func (n namespaces) put(object *v1alpha1.TenantNamespace) {
	namespace := (*corev1.Namespace)(object).DeepCopy()
	namespace.TypeMeta = metav1.TypeMeta{}
	n[namespace.Name] = namespace
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

// startKubectl runs "kubectl get --watch" whenever it ends, which it does when
// its watch does: a user would run it again. Each run begins with a list. The
// output is a table, unless it is "json".
func startKubectl(t *testing.T, user identity, s selection, output string, r *record) func() namespaces {
	t.Helper()
	kubectl := system.Kubectl(t, user.name, user.groups...)
	args := []string{"get", "tns", "--watch", "--output-watch-events"}
	replay := replayTable
	if output == "json" {
		args, replay = append(args, "--output", output), replayJSON
	}
	if s.label != "" {
		args = append(args, "--selector", s.label)
	}
	if s.field != "" {
		args = append(args, "--field-selector", s.field)
	}
	var lock sync.Mutex
	var held namespaces // lock protects it
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			lock.Lock()
			held = namespaces{}
			lock.Unlock()
			r.note("kubectl %q", args)
			command := kubectl.Command(ctx, args...)
			command.Stderr = r
			stdout, err := command.StdoutPipe()
			if err == nil {
				err = command.Start()
			}
			if err == nil {
				err = errors.Join(replay(io.TeeReader(stdout, r), &lock, held), command.Wait())
			}
			r.note("kubectl has ended: %v", err)
			select {
			case <-ctx.Done():
			case <-time.After(kubectlPause):
			}
		}
	})
	return func() namespaces {
		lock.Lock()
		defer lock.Unlock()
		result := namespaces{}
		for name, namespace := range held {
			result[name] = namespace.DeepCopy()
		}
		return result
	}
}

// kubectlPause is how long a user takes to run kubectl again.
const kubectlPause = 200 * time.Millisecond

// replayTable applies the rows that kubectl writes, EVENT and NAME first.
func replayTable(from io.Reader, lock *sync.Mutex, held namespaces) error {
	rows := bufio.NewScanner(from)
	for rows.Scan() {
		words := strings.Fields(rows.Text())
		if len(words) < 2 {
			continue
		}
		lock.Lock()
		switch watch.EventType(words[0]) {
		case watch.Added, watch.Modified:
			held[words[1]] = nameOnly(words[1])
		case watch.Deleted:
			delete(held, words[1])
		case watch.Bookmark, watch.Error:
		}
		lock.Unlock()
	}
	return rows.Err()
}

func nameOnly(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// replayJSON applies the events that kubectl writes.
func replayJSON(from io.Reader, lock *sync.Mutex, held namespaces) error {
	decoder := json.NewDecoder(from)
	for {
		var event struct {
			Type   watch.EventType
			Object v1alpha1.TenantNamespace
		}
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		lock.Lock()
		switch event.Type {
		case watch.Added, watch.Modified:
			held.put(&event.Object)
		case watch.Deleted:
			delete(held, event.Object.Name)
		case watch.Bookmark, watch.Error:
		}
		lock.Unlock()
	}
}

// streamsInitialEvents reports whether a client asked for its initial events as a
// watch.
func (c *client) streamsInitialEvents(t *testing.T) bool {
	t.Helper()
	return bytes.Contains(c.record.content(t), []byte("sendInitialEvents=true"))
}
