// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// interestsOf returns the interests of Tenants of these names and specs.
func interestsOf(tb testing.TB, specs map[string]string) *interests {
	tb.Helper()
	i := newInterests()
	for name, spec := range specs {
		t := tenantSpec(tb, spec)
		t.Name = name
		groups, _ := policy{}.tenantGroups(t, ownersIn(t), nil)
		i.set(tenantOwner(t), groups)
	}
	return i
}

// copied returns a copy of an object, or nil.
func copied(object client.Object) client.Object {
	if object == nil {
		return nil
	}
	c, _ := object.DeepCopyObject().(client.Object)
	return c
}

// send tells a handler that an object was before and is after. Either may be nil.
func send(ctx context.Context, h handler.EventHandler, before, after client.Object) []string {
	q := &recorder{}
	switch {
	case before == nil:
		h.Create(ctx, event.CreateEvent{Object: after}, q)
	case after == nil:
		h.Delete(ctx, event.DeleteEvent{Object: before}, q)
	default:
		// Updates of the same revision are resyncs, which are not urgent.
		after.SetResourceVersion(before.GetResourceVersion() + "1")
		h.Update(ctx, event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
	}
	return q.added()
}

const (
	// listNodes is what an owner needs to be interested in nodes.
	listNodes   = `owners: [{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]}]`
	listClasses = `owners: [{kind: User, name: alice, proxySettings: [{kind: StorageClasses, operations: [List]}]}]`

	// At once is before everything else.
	atOnce, later = " with priority 100", " after 100ms"
)

func TestEventsOfNodes(t *testing.T) {
	h := interestsOf(t, map[string]string{
		"gold":     `{nodeSelector: {tier: gold}, ` + listNodes + `}`,
		"alsogold": `{nodeSelector: {tier: gold, zone: one}, ` + listNodes + `}`,
		"silver":   `{nodeSelector: {tier: silver}, ` + listNodes + `}`,
		"all":      `{` + listNodes + `}`,
		"blind":    `{nodeSelector: {tier: gold}, owners: [{kind: User, name: alice}]}`,
		"invalid":  `{nodeSelector: {tier: "no value"}, ` + listNodes + `}`,
	}).handler(&kinds[0])
	gold, plain := node("a", "tier=gold"), node("a")
	heartbeat := gold.DeepCopy()
	heartbeat.ResourceVersion = "2"
	heartbeat.Annotations = map[string]string{"beat": "2"}
	heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	otherLabel := gold.DeepCopy()
	otherLabel.Labels["x"] = "y"
	another := gold.DeepCopy()
	another.UID = "another"
	anotherPlain := plain.DeepCopy()
	anotherPlain.UID = "another"
	for name, test := range map[string]struct {
		before, after client.Object
		want          []string
	}{
		"comes":                               {after: gold, want: []string{"gold" + later}},
		"comes for nobody":                    {after: plain},
		"goes":                                {before: gold, want: []string{"gold" + atOnce}},
		"goes for nobody":                     {before: plain},
		"is labelled":                         {before: plain, after: gold, want: []string{"gold" + later}},
		"loses its label":                     {before: gold, after: plain, want: []string{"gold" + atOnce}},
		"moves":                               {before: gold, after: node("a", "tier=silver"), want: []string{"gold" + atOnce, "silver" + later}},
		"is selected by two":                  {after: node("a", "tier=gold", "zone=one"), want: []string{"alsogold" + later, "gold" + later}},
		"is lost by one of two":               {before: node("a", "tier=gold", "zone=one"), after: gold, want: []string{"alsogold" + atOnce}},
		"a heartbeat":                         {before: gold, after: heartbeat},
		"a label that nobody asks for":        {before: gold, after: otherLabel},
		"another of the same name and labels": {before: gold, after: another},
		"another of the same name that is not wanted": {before: gold, after: anotherPlain, want: []string{"gold" + atOnce}},
		"another of the same name that is wanted":     {before: anotherPlain, after: gold, want: []string{"gold" + later}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, send(t.Context(), h, copied(test.before), copied(test.after))); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsOfOtherKinds(t *testing.T) {
	i := interestsOf(t, map[string]string{
		"named":    `{storageClasses: {allowed: [a]}, ` + listClasses + `}`,
		"default":  `{storageClasses: {default: a}, ` + listClasses + `}`,
		"regex":    `{storageClasses: {allowedRegex: "^.$"}, ` + listClasses + `}`,
		"labelled": `{storageClasses: {matchLabels: {tier: gold}}, ` + listClasses + `}`,
		"nothing":  `{storageClasses: {}, ` + listClasses + `}`,
		"all":      `{` + listClasses + `}`,
		"oil":      `{owners: [{kind: User, name: alice, proxySettings: [{kind: PersistentVolumes, operations: [List]}]}]}`,
	})
	class := func(name string, labels map[string]string) client.Object {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	gold := map[string]string{"tier": "gold"}
	for name, test := range map[string]struct {
		kind          int
		before, after client.Object
		want          []string
	}{
		"a class of that name comes": {kind: 2, after: class("a", nil), want: []string{"default" + later, "named" + later, "regex" + later}},
		"it goes":                    {kind: 2, before: class("a", nil), want: []string{"default" + atOnce, "named" + atOnce, "regex" + atOnce}},
		"it is labelled":             {kind: 2, before: class("a", nil), after: class("a", gold), want: []string{"labelled" + later}},
		"it loses the label":         {kind: 2, before: class("a", gold), after: class("a", nil), want: []string{"labelled" + atOnce}},
		"one of another name comes":  {kind: 2, after: class("other", nil)},
		"one of another kind comes":  {kind: 3, after: class("a", gold)},
		"a volume is labelled": {
			kind: 1, before: class("pv", nil), after: class("pv", map[string]string{capsulev1beta2.TenantLabel: "oil"}), want: []string{"oil" + later},
		},
		"a volume becomes another's": {
			kind: 1, before: class("pv", map[string]string{capsulev1beta2.TenantLabel: "oil"}),
			after: class("pv", map[string]string{capsulev1beta2.TenantLabel: "gas"}), want: []string{"oil" + atOnce},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, send(t.Context(), i.handler(&kinds[test.kind]), test.before, test.after)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInterestsFollowTheOwner changes what a Tenant selects, and deletes it.
func TestInterestsFollowTheOwner(t *testing.T) {
	i := newInterests()
	change := func(spec string) {
		t.Helper()
		oil := tenantSpec(t, spec)
		groups, _ := policy{}.tenantGroups(oil, ownersIn(oil), nil)
		i.set(tenantOwner(oil), groups)
	}
	nodes := i.handler(&kinds[0])
	for _, step := range []struct {
		spec string
		want []string
	}{
		{`{nodeSelector: {tier: gold}, ` + listNodes + `}`, []string{"oil" + atOnce}},
		{`{nodeSelector: {tier: silver}, ` + listNodes + `}`, nil},
		{`{nodeSelector: {tier: gold}, ` + listNodes + `}`, []string{"oil" + atOnce}},
		{`{nodeSelector: {tier: gold}, ` + listClasses + `}`, nil},
		{`{nodeSelector: {tier: gold}, ` + listNodes + `}`, []string{"oil" + atOnce}},
		{`{}`, nil},
	} {
		change(step.spec)
		if diff := cmp.Diff(step.want, send(t.Context(), nodes, node("a", "tier=gold"), nil)); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", step.spec, diff)
		}
	}
	for k, owners := range i.of {
		if len(owners) > 0 {
			t.Errorf("interests in %s are kept for ever: %v", k.resource, owners)
		}
	}
}

// TestOneSelectionIsTestedOnce: groups of a Tenant select the same.
func TestOneSelectionIsTestedOnce(t *testing.T) {
	i := interestsOf(t, map[string]string{"oil": `{nodeSelector: {tier: gold}, owners: [
		{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}]},
		{kind: User, name: carol, proxySettings: [{kind: Nodes, operations: [List, Update]}]}]}`})
	if got := len(i.of[&kinds[0]]["oil"]); got != 1 {
		t.Errorf("%d selections, want 1", got)
	}
	if diff := cmp.Diff([]string{"oil" + later}, send(t.Context(), i.handler(&kinds[0]), nil, node("a", "tier=gold"))); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestEveryDifferenceIsTold compares the events of an object with what its change
// makes of the roles.
func TestEveryDifferenceIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		k := &kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")]
		draw := func(label string) client.Object {
			labels := drawLabels.Draw(t, label)
			labels[capsulev1beta2.TenantLabel] = rapid.SampledFrom([]string{"oil", "gas"}).Draw(t, "tenant")
			return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: "a", UID: types.UID(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "uid")), Labels: labels,
			}}
		}
		var before, after client.Object
		if rapid.IntRange(0, 3).Draw(t, "was") > 0 {
			before = draw("before")
		}
		if rapid.IntRange(0, 3).Draw(t, "is") > 0 || before == nil {
			after = draw("after")
		}
		units := func(object client.Object) sets.Set[held] {
			others := slices.DeleteFunc(slices.Clone(w.objects[k]), func(o metav1.ObjectMeta) bool { return o.Name == "a" })
			if object != nil {
				others = append(others, metav1.ObjectMeta{Name: "a", Labels: object.GetLabels()})
			}
			now := w
			now.objects = map[*kind][]metav1.ObjectMeta{k: others}
			return clusterOf(now.wanted(nil, maxNames)).held()
		}
		groups, _ := w.groups()
		i := newInterests()
		i.set(tenantOwner(w.tenant), groups)
		had, has := units(before), units(after)
		told := send(t.Context(), i.handler(k), before, after)
		if len(beyond(had, has)) > 0 && !slices.Contains(told, "oil"+atOnce) {
			t.Errorf("lost, and told %v", told)
		}
		if len(beyond(has, had)) > 0 && len(told) == 0 {
			t.Error("gained, and nobody was told")
		}
		if selects := slices.ContainsFunc(groups, func(g group) bool {
			return slices.ContainsFunc(g.requests, func(q request) bool { return q.kind == k && !q.selection.all })
		}); !selects && len(told) > 0 {
			t.Errorf("told %v, who selects nothing", told)
		}
	})
}

// TestInterestsConcurrently is for the race detector.
func TestInterestsConcurrently(t *testing.T) {
	i := newInterests()
	gold, all := tenantSpec(t, `{nodeSelector: {tier: gold}, `+listNodes+`}`), tenantSpec(t, `{`+listNodes+`}`)
	h := i.handler(&kinds[0])
	var wait sync.WaitGroup
	for n := range 4 {
		wait.Go(func() {
			for range 50 {
				for _, spec := range []*capsulev1beta2.Tenant{gold, all} {
					groups, _ := policy{}.tenantGroups(spec, ownersIn(spec), nil)
					i.set(owner{gvk: tenantKind, name: fmt.Sprint("t", n)}, groups)
				}
			}
		})
		wait.Go(func() {
			for range 50 {
				h.Delete(t.Context(), event.DeleteEvent{Object: node("a", "tier=gold")}, &recorder{})
			}
		})
	}
	wait.Wait()
}

// TestALossOvertakes adds to the queue that controllers have.
func TestALossOvertakes(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	q.Add(requestFor("first"))
	q.AddAfter(requestFor("oil"), gainDelay*100)
	addFirst(q, requestFor("oil"))
	got, priority, _ := q.GetWithPriority()
	if got != requestFor("oil") || priority != lossPriority {
		t.Errorf("got %v with priority %d", got, priority)
	}
}

// TestALossWithoutPriorities is added at once all the same.
func TestALossWithoutPriorities(t *testing.T) {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	addFirst(q, requestFor("oil"))
	if q.Len() != 1 {
		t.Errorf("%d requests, want 1", q.Len())
	}
}
