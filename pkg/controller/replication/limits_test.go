// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/replication/render"
)

// ticking is a clock that goes on each time it is looked at.
type ticking struct {
	*clocktesting.FakePassiveClock

	tick  time.Duration
	looks int
}

func (c *ticking) Now() time.Time {
	c.looks++
	c.SetTime(c.FakePassiveClock.Now().Add(c.tick))
	return c.FakePassiveClock.Now()
}

// TestPlansEnd has subjects ask for more than there is for one.
func TestPlansEnd(t *testing.T) {
	const tooLong, tooMuch = "this takes more than 10s: spread the spec over several objects of this kind",
		"this needs more than 32 MiB: spread the spec over several objects of this kind"
	many := func(n int, item func(i int) runtime.RawExtension) []capsulev1beta2.ReplicatedResources {
		var items []runtime.RawExtension
		for i := range n {
			items = append(items, item(i))
		}
		return rawItems(items...)
	}
	large := strings.Repeat("a", 900_000)
	for name, test := range map[string]struct {
		resources []capsulev1beta2.ReplicatedResources
		want      string
	}{
		"parts of one object":       {many(2000, func(i int) runtime.RawExtension { return rawItem("x", strconv.Itoa(i), "v") }), tooLong},
		"many resources":            {make([]capsulev1beta2.ReplicatedResources, 2000), tooLong},
		"many generators":           {[]capsulev1beta2.ReplicatedResources{{Generators: make([]capsulev1beta2.ResourceGenerator, 1000)}}, tooMuch},
		"many sources":              {[]capsulev1beta2.ReplicatedResources{{NamespacedItems: make([]capsulev1beta2.ObjectSelector, 2000)}}, tooLong},
		"items of next to nothing":  {rawItems(text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":[` + strings.Repeat("{},", 300_000) + `{}]}`)), tooMuch},
		"placeholders":              {rawItems(text(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":["{{namespace}}",` + strings.Repeat("0,", 150_000) + `0]}`)), tooMuch},
		"metadata of many":          {[]capsulev1beta2.ReplicatedResources{{RawItems: many(100, func(i int) runtime.RawExtension { return rawItem(strconv.Itoa(i)) })[0].RawItems, AdditionalMetadata: &capsulev1beta2.AdditionalMetadata{Annotations: map[string]string{"a": large}}}}, tooMuch},
		"templates that make a lot": {[]capsulev1beta2.ReplicatedResources{generating(`{{ range $i := until 100 }}---` + "\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x-{{ $i }}"},"data":[{{ repeat 2000 "{}," }}{}]}` + "\n" + `{{ end }}`)}, tooMuch},
	} {
		t.Run(name, func(t *testing.T) {
			r := localSubject("oil-a", test.resources...)
			c := newCluster(t, oil()...)
			clock := &ticking{FakePassiveClock: c.clock}
			if test.want == tooLong {
				clock.tick = 10 * time.Millisecond
			}
			c.local.clock = clock
			s := localKind().subject(r)
			reach, err := s.reach(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			a := account{"oil-a", "sa"}
			underlying, err := c.local.as(a)
			if err != nil {
				t.Fatal(err)
			}
			p := c.local.plan(t.Context(), s, identity{underlying, a}, reach)
			if p.tooLarge == nil || p.tooLarge.Error() != test.want {
				t.Errorf("want it to be too large: %s, got %v", test.want, p.tooLarge)
			}
			if p.bytes > maxPlanBytes {
				t.Errorf("it needs %d bytes", p.bytes)
			}
			// It ends soon after the time is over.
			if most := int(maxPlanTime/(10*time.Millisecond)) + 20; clock.tick > 0 && clock.looks > most {
				t.Errorf("want it to look at the clock %d times at most, got %d", most, clock.looks)
			}
		})
	}
}

// counting is a RESTMapper that knows nothing, and counts how often it is asked.
type counting struct {
	meta.RESTMapper

	asked int
}

func (m *counting) RESTMapping(kind schema.GroupKind, _ ...string) (*meta.RESTMapping, error) {
	m.asked++
	return nil, &meta.NoKindMatchError{GroupKind: kind}
}

func TestUnknownKindsAreRemembered(t *testing.T) {
	clock, mapper := clocktesting.NewFakePassiveClock(start), &counting{}
	k := newKinds(mapper, clock)
	for _, step := range []struct {
		kind  string
		after time.Duration
		want  int
	}{
		{"A", 0, 1}, {"A", 0, 1}, {"B", 0, 2}, {"A", unknownFor - time.Second, 2}, {"A", unknownFor + time.Second, 3},
	} {
		clock.SetTime(start.Add(step.after))
		err := k.lookUp(schema.GroupVersionKind{Version: "v1", Kind: step.kind})
		if want := "there is no kind " + step.kind + " in v1"; err == nil || err.Error() != want {
			t.Errorf("want error %q, got %v", want, err)
		}
		compare(t, "requests", step.want, mapper.asked)
	}
}

func TestTooManyKinds(t *testing.T) {
	var items []runtime.RawExtension
	for i := range maxKinds + 1 {
		items = append(items, text(fmt.Sprintf(`{"apiVersion":"v1","kind":"Unheard%d","metadata":{"name":"x"}}`, i)))
	}
	r := localSubject("oil-a", rawItems(items...)...)
	c := newCluster(t, append(oil(), r)...)
	mapper := &counting{}
	c.local.kinds = newKinds(mapper, c.clock)
	c.reconcile(t, r)
	compare(t, "requests", maxKinds, mapper.asked)
	if want := fmt.Sprintf("and %d more", maxKinds+1-maxNamed); !strings.HasSuffix(ready(r), want) {
		t.Errorf("ready: want %q, got %q", want, ready(r))
	}
}

// TestSubjectsRest holds that a subject that takes long is looked at less often,
// whatever asks for it.
func TestSubjectsRest(t *testing.T) {
	r := localSubject("oil-a", capsulev1beta2.ReplicatedResources{NamespacedItems: []capsulev1beta2.ObjectSelector{source("oil-a", "source")}})
	c := newCluster(t, append(oil(), r)...)
	looks := 0
	c.refuse = func(string, string) error {
		looks++
		c.clock.SetTime(c.clock.Now().Add(time.Second))
		return nil
	}
	c.reconcile(t, r)
	compare(t, "looks", 1, looks)
	result := c.reconcile(t, r)
	compare(t, "looks", 1, looks)
	compare(t, "result", reconcile.Result{RequeueAfter: restFactor * time.Second}, result)
	c.clock.SetTime(c.clock.Now().Add(restFactor * time.Second))
	c.reconcile(t, r)
	compare(t, "looks", 2, looks)
	// A deletion does not wait.
	if err := c.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	compare(t, "result", reconcile.Result{}, c.reconcile(t, r))
}

// TestTurns holds that a tenant has one worker at most.
func TestTurns(t *testing.T) {
	one, two, third := localSubject("oil-a"), localSubject("oil-b"), localSubject("oil-b")
	third.Name = "third"
	elsewhere := localSubject("gas-a")
	request := func(r *capsulev1beta2.TenantResource) reconcile.Request {
		return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(r)}
	}
	c := newCluster(t, append(oil(), one, two, third, elsewhere)...)
	var asked []string
	c.local.turns.ask = func(r reconcile.Request) { asked = append(asked, r.String()) }
	waits := reconcile.Result{RequeueAfter: turnAfter}
	if !c.local.turns.take("oil", request(one)) {
		t.Fatal("want the turn")
	}
	compare(t, "second", waits, c.reconcile(t, two))
	compare(t, "third", waits, c.reconcile(t, third))
	compare(t, "second, once more", waits, c.reconcile(t, two))
	if result := c.reconcile(t, elsewhere); result == waits {
		t.Error("another tenant waits")
	}
	c.local.turns.end("oil")
	compare(t, "asked", []string{"oil-b/r"}, asked)
	if result := c.reconcile(t, two); result == waits {
		t.Error("the second waits")
	}
	compare(t, "asked", []string{"oil-b/r", "oil-b/third"}, asked)
	c.reconcile(t, third)
	compare(t, "asked", 2, len(asked))
	compare(t, "who waits", 0, len(c.local.turns.waiting)+len(c.local.turns.taken))
}

func TestRoom(t *testing.T) {
	r := newRoom()
	var places []*place
	for range allRoom / planRoom {
		p, err := r.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p)
	}
	compare(t, "room for another", false, r.left.TryAcquire(planRoom))
	places[0].shrink(maxPlanBytes)
	compare(t, "room for another", true, r.left.TryAcquire(planRoom))
	r.left.Release(planRoom)
	for _, p := range places {
		p.leave()
	}
	compare(t, "room for all", true, r.left.TryAcquire(allRoom))
}

// TestLargeAnswers reads sources that do not fit into one answer.
func TestLargeAnswers(t *testing.T) {
	var limits []string
	size := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limits = append(limits, r.URL.Query().Get("limit"))
		first, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMapList"}}
		const all = 12
		for i := first; i < min(first+limit, all); i++ {
			list.Items = append(list.Items, metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
				ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(i), Annotations: map[string]string{"a": strings.Repeat("a", size)}},
			})
		}
		if first+limit < all {
			list.Continue = strconv.Itoa(first + limit)
		}
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		_ = json.NewEncoder(w).Encode(list) // the client may have gone
	}))
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(configMapKind, meta.RESTScopeNamespace)
	c := newClients(&rest.Config{Host: server.URL}, server.Client().Transport, client.Options{Scheme: scheme, Mapper: mapper}, nil)
	const limit = 35_000
	c.base = limitedTransport{server.Client().Transport, limit}
	a := account{"oil-a", "sa"}
	acting, err := c.as(a)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		size, budget int
		wantLimits   []string
		want         int
		wantError    string
	}{
		"small":     {size: 10, budget: maxPlanBytes, wantLimits: []string{"100"}, want: 12},
		"large":     {size: 3_000, budget: maxPlanBytes, wantLimits: []string{"100", "10", "10"}, want: 12},
		"too large": {size: limit, budget: maxPlanBytes, wantLimits: []string{"100", "10", "1"}, wantError: errLargeResponse.Error()},
		"too many":  {size: 3_000, budget: 30_000, wantLimits: []string{"100", "10"}, wantError: "this needs more than"},
	} {
		t.Run(name, func(t *testing.T) {
			limits, size = nil, test.size
			p := &planner{as: identity{acting, a}, budget: render.NewBudget(clocktesting.NewFakePassiveClock(start), maxPlanTime, test.budget)}
			got, err := p.readSources(t.Context(), sourceKey{gvk: configMapKind, namespace: "oil-a"}, labels.Everything())
			if (err != nil) != (test.wantError != "") || err != nil && !strings.Contains(err.Error(), test.wantError) {
				t.Fatalf("want error %q, got %v", test.wantError, err)
			}
			compare(t, "sources", test.want, len(got))
			compare(t, "limits", test.wantLimits, limits)
		})
	}
}
