// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

const (
	// settleWithin is how long clients may take to come to what holds: a reflector
	// that failed often waits for up to 30 s before it tries again. No client asks
	// anew by itself within that time if it was not told to.
	settleWithin = 90 * time.Second
	settlePeriod = 300 * time.Millisecond
	// parallelReviews is how many requests are in flight.
	parallelReviews = 8
)

// identity is a user and its groups but those that the API server adds.
type identity struct {
	name   string
	groups []string
}

// world is what one test edits, the users of it and their clients.
type world struct {
	// name begins the names of all that the world has.
	name   string
	seed   uint64
	random *rand.Rand
	admin  kubernetes.Interface
	// stored are the administrator's objects, views what it sees of them.
	stored dynamic.Interface
	views  metadata.Interface
	dir    string
	log    *record
	// ann may get this and that, and sometimes everything; ben may never get
	// everything, nor an object that is a secret to him.
	ann, ben identity
	clients  []*client
	// marked is how often an object was marked.
	marked int
}

// newWorld returns a world in which there is something to edit.
func newWorld(t *testing.T, name string) *world {
	t.Helper()
	ensureTenants(t)
	w := newEmptyWorld(t, name)
	require.NoError(t, w.prepare(t.Context()))
	return w
}

func newEmptyWorld(t *testing.T, name string) *world {
	t.Helper()
	config := system.AdminConfig(t)
	config.ContentType = runtime.ContentTypeProtobuf
	config.Timeout = 10 * time.Second
	admin, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	config = system.AdminConfig(t)
	config.Timeout = 10 * time.Second
	stored, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	views, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	w := &world{
		name: name, seed: *seed, admin: admin, stored: stored, views: views, dir: filepath.Join(records, t.Name()),
		ann: identity{name: name + "-ann", groups: []string{name + "-team"}},
		ben: identity{name: name + "-ben"},
	}
	if w.seed == 0 {
		w.seed = rand.Uint64()
	}
	t.Logf("seed %d", w.seed)
	w.random = rand.New(rand.NewPCG(w.seed, 0))
	w.log = newRecord(t, w.dir, "edits")
	w.log.note("seed %d", w.seed)
	t.Cleanup(func() { w.cleanUp(t) })
	return w
}

// stir makes some edits, so that those that follow meet something.
func (w *world) stir(t *testing.T) {
	t.Helper()
	require.NoError(t, w.edit(t.Context(), initialEdits))
}

// selections are those of ann's clients.
var selections = map[string]selection{
	"all":    {},
	"gold":   {label: "tier=gold"},
	"active": {field: "status.phase=Active"},
}

// follow starts clients of every kind for the namespaces: for ann with every
// selection, for ben without any; and some for what else there is. It returns when
// they hold what they are to hold.
func (w *world) follow(t *testing.T) {
	t.Helper()
	start := time.Now()
	ofAnn := func() *rest.Config { return system.Config(t, w.ann.name, w.ann.groups...) }
	ofBen := func() *rest.Config { return system.Config(t, w.ben.name, w.ben.groups...) }
	for name, s := range selections {
		w.startKubectl(t, namespaces, w.ann, "kubectl-"+name, s, "json")
		for _, k := range []kind{informer, listInformer, controllerRuntime} {
			w.start(t, namespaces, k, ofAnn(), w.ann, k.name+"-"+name, s)
		}
	}
	w.start(t, namespaces, protobufInformer, ofAnn(), w.ann, protobufInformer.name, selection{})
	w.startKubectl(t, namespaces, w.ann, "kubectl-table", selection{}, "")
	w.startKubectl(t, namespaces, w.ben, "kubectl-ben", selection{}, "json")
	for _, k := range []kind{informer, listInformer, protobufInformer} {
		w.start(t, namespaces, k, ofBen(), w.ben, k.name+"-ben", selection{})
	}
	for _, of := range []*resource{nodes, tenants} {
		w.startKubectl(t, of, w.ann, "kubectl-"+of.String(), selection{}, "json")
		w.start(t, of, informer, ofAnn(), w.ann, "informer-"+of.String(), selection{})
		w.start(t, of, informer, ofBen(), w.ben, "informer-ben-"+of.String(), selection{})
		w.start(t, of, listInformer, ofAnn(), w.ann, "list-informer-gold-"+of.String(), selections["gold"])
		w.start(t, of, controllerRuntime, ofBen(), w.ben, "controller-runtime-ben-"+of.String(), selection{})
	}
	w.start(t, nodes, protobufInformer, ofAnn(), w.ann, "protobuf-nodes", selection{field: "spec.unschedulable=false"})
	w.settle(t, "before the first edit")
	t.Logf("%d clients follow after %s", len(w.clients), time.Since(start).Round(time.Millisecond))
}

// oneOf returns the user of the i-th of many clients: one in five is ben's.
func (w *world) oneOf(i int) identity {
	if i%5 == 4 {
		return w.ben
	}
	return w.ann
}

// startInformer starts the i-th of many informers: kinds, users, resources and
// selections take turns.
func (w *world) startInformer(t *testing.T, i int, config *rest.Config, user identity) {
	t.Helper()
	k := []kind{informer, listInformer, controllerRuntime, protobufInformer}[i%4]
	of := []*resource{namespaces, nodes, tenants}[i/4%3]
	s := pick(w, selections["all"], selections["gold"], selections["active"])
	if of.json && k.name == protobufInformer.name {
		k = informer
	}
	if of != namespaces {
		s.field = ""
	}
	w.start(t, of, k, config, user, fmt.Sprintf("%s-%s-%02d-%s", k.name, user.name, i, of), s)
}

// start starts a client of a kind.
func (w *world) start(t *testing.T, of *resource, k kind, config *rest.Config, user identity, name string, s selection) {
	t.Helper()
	c := &client{name: name, of: of, user: user, selection: s, record: newRecord(t, w.dir, name)}
	config.Wrap(c.record.wrap)
	c.held = k.start(t, of, config, s)
	w.clients = append(w.clients, c)
	require.Eventually(t, func() bool { return len(c.record.content(t)) > 0 }, settleWithin, settlePeriod, "%s asks nothing", name)
	require.Equal(t, k.streams, c.streamsInitialEvents(t), "%s: initial events as a watch", name)
}

func (w *world) startKubectl(t *testing.T, of *resource, user identity, name string, s selection, output string) {
	t.Helper()
	c := &client{name: name, of: of, user: user, selection: s, record: newRecord(t, w.dir, name), namesOnly: output == ""}
	c.held = startKubectl(t, of, user, s, output, c.record)
	w.clients = append(w.clients, c)
}

// allowed asks the API server what the users may get, and returns it with all
// that there is. For the namespace N a review names N twice, as the API server
// does when it authorizes the request.
func (w *world) allowed(ctx context.Context, of *resource, users []identity) (map[string]objects, error) {
	list, err := w.stored.Resource(of.native).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	verdicts := make([]bool, len(users)*len(list.Items))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for n := range verdicts {
		user, name := users[n/len(list.Items)], list.Items[n%len(list.Items)].GetName()
		attributes := &authorizationv1.ResourceAttributes{
			Verb: "get", Group: of.native.Group, Version: of.native.Version, Resource: of.native.Resource, Name: name,
		}
		if of == namespaces {
			attributes.Namespace = name
		}
		group.Go(func() error {
			review, err := w.admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: user.name, Groups: append(slices.Clone(user.groups), "system:authenticated"), ResourceAttributes: attributes,
				},
			}, metav1.CreateOptions{})
			if err == nil {
				verdicts[n] = review.Status.Allowed
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	result := map[string]objects{}
	for i, user := range users {
		result[user.name] = objects{}
		for j := range list.Items {
			if !verdicts[i*len(list.Items)+j] {
				continue
			}
			o, err := of.viewOf(&list.Items[j])
			if err != nil {
				return nil, err
			}
			result[user.name][o.GetName()] = o
		}
	}
	return result, nil
}

// settle waits until every client holds exactly what the API server allows its
// user to get, and selects: the native objects. It has to be so twice: what the
// API server itself has yet to notice of the last edit counts, too.
func (w *world) settle(t *testing.T, when string) {
	t.Helper()
	start, equal := time.Now(), 0
	var problem string
	err := wait.PollUntilContextTimeout(t.Context(), settlePeriod, settleWithin, true, func(ctx context.Context) (bool, error) {
		if problem = w.compare(ctx, t); problem != "" {
			equal = 0
			return false, nil
		}
		equal++
		return equal == 2, nil
	})
	w.log.note("settle %s: %v after %s", when, err, time.Since(start))
	require.NoError(t, err, "%s: seed %d, edits in %s: not settled after %s:\n%s", when, w.seed, w.log.path, time.Since(start), problem)
	t.Logf("%s: settled after %s", when, time.Since(start).Round(time.Millisecond))
}

// compare returns how the clients differ from what they are to hold.
func (w *world) compare(ctx context.Context, t *testing.T) string {
	t.Helper()
	allowed := map[*resource]map[string]objects{}
	for _, of := range resources {
		var err error
		if allowed[of], err = w.allowed(ctx, of, []identity{w.ann, w.ben}); err != nil {
			return err.Error()
		}
	}
	var problems []string
	for _, c := range w.clients {
		want := objects{}
		for name, o := range allowed[c.of][c.user.name] {
			if !c.matches(t, c.of, o) {
				continue
			}
			if c.namesOnly {
				o = c.of.nameOnly(name)
			}
			want[name] = o
		}
		if held := c.held(); !equality.Semantic.DeepEqual(want, held) {
			problems = append(problems, fmt.Sprintf("%s, %s (-allowed +held):\n%s", c.name, c.record.path,
				cmp.Diff(want, held, cmpopts.EquateEmpty())))
		}
	}
	return strings.Join(problems, "\n")
}

// requireHeld holds that the clients of a user that select nothing hold an object,
// or do not.
func (w *world) requireHeld(t *testing.T, of *resource, user identity, name string, want bool) {
	t.Helper()
	for _, c := range w.clients {
		if _, held := c.held()[name]; c.of == of && c.user.name == user.name && c.selection == (selection{}) {
			require.Equal(t, want, held, "%s holds %s", c.name, name)
		}
	}
}

// verify holds what must be true of all that the clients were ever sent.
func (w *world) verify(t *testing.T) {
	t.Helper()
	for _, c := range w.clients {
		added, violations := c.record.count(watch.Added)
		require.Empty(t, violations, "seed %d: events of %s, see %s", w.seed, c.name, c.record.path)
		modified, _ := c.record.count(watch.Modified)
		deleted, _ := c.record.count(watch.Deleted)
		w.log.note("%s: %d ADDED, %d MODIFIED, %d DELETED", c.name, added, modified, deleted)
		content := c.record.content(t)
		require.False(t, bytes.Contains(content, []byte(markOf(c.user))),
			"seed %d: %s was sent what its user may never have got, see %s", w.seed, c.name, c.record.path)
		require.False(t, c.user.name == w.ben.name && bytes.Contains(content, []byte(w.secretPrefix())),
			"seed %d: %s was sent something of an object that was never granted, see %s", w.seed, c.name, c.record.path)
	}
}
