// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

// TestModel has namespaces admit objects, kube-controller-manager count them, two
// controllers and two replicas of the webhook work from old caches, be interrupted and
// crash, in any order, and holds that there are never more objects than the limit,
// and that all of the limit can be used when everything has settled.
func TestModel(t *testing.T) {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	rapid.Check(t, func(t *rapid.T) {
		c := fake.NewClientBuilder().WithScheme(scheme).Build()
		m := &world{
			ctx: context.Background(), //nolint:usetesting // a rapid.T has one that is cancelled between checks
			tenant: oil(capsulev1beta2.ResourceQuotaScopeTenant, list{
				"pods": strconv.Itoa(rapid.SampledFrom([]int{0, 1, 3, 8, 40}).Draw(t, "limit")),
			}),
			ledgers: ledger.NewStore(c, c, "tenancy-system"),
			now:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			quotas:  map[string]*corev1.ResourceQuota{}, objects: map[string][]object{}, unseen: map[string]int64{},
		}
		for range rapid.IntRange(1, 4).Draw(t, "namespaces") {
			m.create()
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": m.admit, "admit more": m.admit, "admit even more": m.admit,
			"delete": m.deleteObject, "count": m.countOne, "pass": m.pass, "resume": m.resume, "cache": m.cacheNow,
			"wait": m.wait, "remake": m.remake, "": m.check,
		})
		m.settle(t)
	})
}

// object is one that was let in at a time, and is seen by kube-controller-manager at
// another one.
type object struct{ seen time.Time }

type world struct {
	ctx     context.Context //nolint:containedctx // it is that of one check
	tenant  *capsulev1beta2.Tenant
	ledgers *ledger.Store
	now     time.Time

	revision int
	// quotas are the ResourceQuotas by namespace, and cached what the controllers and
	// webhooks know of them.
	quotas map[string]*corev1.ResourceQuota
	cached map[string]*corev1.ResourceQuota
	// objects are those that there are, or will be, as they were let in.
	objects map[string][]object
	// unseen is by how much what was let in by a grant ahead was counted too low, until
	// it was known.
	unseen map[string]int64
	// paused is a step of a controller that has written nothing yet, or the ledger
	// only.
	paused *step
	// inside is true while one action happens in the middle of another one.
	inside bool
}

// step is what a controller is about to write.
type step struct {
	plan     *plan
	snapshot map[string]*corev1.ResourceQuota
	written  bool
}

func (m *world) limit() int64 {
	limit := m.hard()["pods"]
	return limit.Value()
}

func (m *world) hard() corev1.ResourceList { return m.tenant.Spec.ResourceQuotas.Items[0].Hard }

func (m *world) names() []string { return slices.Sorted(maps.Keys(m.quotas)) }

func (m *world) create() {
	name := fmt.Sprintf("oil-%d", len(m.quotas))
	m.quotas[name] = m.made(name)
	m.cached = maps.Clone(m.quotas)
}

func (m *world) made(namespace string) *corev1.ResourceQuota {
	m.revision++
	q := quota(namespace, list{"pods": strconv.FormatInt(m.limit(), 10)}, nil)
	q.UID, q.ResourceVersion = types.UID(strconv.Itoa(m.revision)), strconv.Itoa(m.revision)
	q.Status.Used = nil
	return q
}

// write replaces a ResourceQuota if it is still what was changed.
func (m *world) write(changed *corev1.ResourceQuota) bool {
	is := m.quotas[changed.Namespace]
	if is == nil || is.ResourceVersion != changed.ResourceVersion || is.UID != changed.UID {
		return false
	}
	m.revision++
	changed = changed.DeepCopy()
	changed.ResourceVersion = strconv.Itoa(m.revision)
	m.quotas[changed.Namespace] = changed
	return true
}

func used(q *corev1.ResourceQuota) int64 {
	used := q.Status.Used["pods"]
	return used.Value()
}

// mayUse returns how much quota admission lets it use.
func mayUse(q *corev1.ResourceQuota) int64 {
	hard := q.Status.Hard["pods"]
	return hard.Value()
}

// admit is what the API server does for a request to create objects.
func (m *world) admit(t *rapid.T) {
	namespace := rapid.SampledFrom(m.names()).Draw(t, "namespace")
	m.admitTo(t, namespace, rapid.Int64Range(1, 3).Draw(t, "objects"))
}

func (m *world) admitTo(t *rapid.T, namespace string, n int64) bool {
	was := m.quotas[namespace]
	if _, known := was.Status.Used["pods"]; !known || used(was)+n > mayUse(was) {
		return false
	}
	is := was.DeepCopy()
	is.Status.Used = quantities(list{"pods": strconv.FormatInt(used(was)+n, 10)})
	growths := ledger.Growths(was, is)
	token, ok := "", true
	if len(growths) > 0 {
		token, ok = m.ask(t, was, growths)
	}
	if !ok {
		return false
	}
	if token != "" {
		is.Annotations = maps.Clone(is.Annotations)
		if is.Annotations == nil {
			is.Annotations = map[string]string{}
		}
		is.Annotations[ledger.ApprovedAnnotation] = token
	}
	m.interrupt(t)
	if !m.write(is) {
		return false
	}
	if len(growths) == 0 {
		m.unseen[namespace] += max(0, int64(len(m.objects[namespace]))-used(was))
	}
	for range n {
		lag := time.Duration(rapid.Int64Range(0, int64(ledger.Hold)-1).Draw(t, "lag"))
		m.objects[namespace] = append(m.objects[namespace], object{m.now.Add(lag)})
	}
	return true
}

// ask is what a replica of the webhook does.
func (m *world) ask(t *rapid.T, was *corev1.ResourceQuota, growths []ledger.Growth) (token string, ok bool) {
	l, err := m.ledgers.Get(m.ctx, m.tenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	if l == nil {
		return "", false
	}
	m.interrupt(t)
	token, refusals := l.Approve(m.hard(), UsedBy(slices.Collect(maps.Values(m.cached))), was, growths, m.now)
	if changed, err := l.Changed(); err != nil {
		t.Fatal(err)
	} else if changed && !m.store(t, l) {
		return "", false
	}
	return token, len(refusals) == 0
}

func (m *world) store(t *rapid.T, l *ledger.Ledger) bool {
	err := m.ledgers.Update(m.ctx, l)
	if err != nil && !apierrors.IsConflict(err) {
		t.Fatal(err)
	}
	return err == nil
}

// interrupt has something else happen.
func (m *world) interrupt(t *rapid.T) {
	if m.inside || !rapid.Bool().Draw(t, "interrupt") {
		return
	}
	m.inside = true
	rapid.SampledFrom([]func(*rapid.T){m.admit, m.deleteObject, m.countOne, m.pass, m.resume, m.cacheNow}).Draw(t, "by")(t)
	m.inside = false
}

// deleteObject deletes one that kube-controller-manager knows.
func (m *world) deleteObject(t *rapid.T) {
	namespace := rapid.SampledFrom(m.names()).Draw(t, "namespace")
	if objects := m.objects[namespace]; len(objects) > 0 && !objects[0].seen.After(m.now) {
		m.objects[namespace] = objects[1:]
		if rapid.Bool().Draw(t, "counted") {
			m.count(namespace)
		}
	}
}

func (m *world) countOne(t *rapid.T) {
	m.count(rapid.SampledFrom(m.names()).Draw(t, "namespace"))
}

// count is what kube-controller-manager does.
func (m *world) count(namespace string) {
	q, n := m.quotas[namespace].DeepCopy(), 0
	for _, object := range m.objects[namespace] {
		if !object.seen.After(m.now) {
			n++
		}
	}
	q.Status.Hard, q.Status.Used = q.Spec.Hard, quantities(list{"pods": strconv.Itoa(n)})
	if !equality.Semantic.DeepEqual(q.Status, m.quotas[namespace].Status) {
		m.write(q)
	}
}

// cacheNow has the controllers and webhooks know everything.
func (m *world) cacheNow(*rapid.T) { m.cached = maps.Clone(m.quotas) }

// pass is a step of the controller that leads, which may be interrupted before it
// writes the ledger or after that.
func (m *world) pass(t *rapid.T) {
	s := m.read(t)
	if s == nil {
		return
	}
	switch rapid.IntRange(0, 3).Draw(t, "paused") {
	case 0:
		m.paused = s
	case 1:
		if m.writeLedger(t, s) {
			m.paused = s
		}
	default:
		m.finish(t, s, len(m.cached))
	}
}

func (m *world) read(t *rapid.T) *step {
	quotas := slices.Collect(maps.Values(m.cached))
	l, err := m.ledgers.Get(m.ctx, m.tenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	if l == nil {
		if err := m.ledgers.Create(m.ctx, m.tenant, 0, opened(m.hard(), quotas, m.now)); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	return &step{plan: newPlan(l, m.hard(), Total(m.hard(), quotas), quotas, m.now), snapshot: maps.Clone(m.cached)}
}

// resume is another controller, which led before, and writes what it was about to.
func (m *world) resume(t *rapid.T) {
	if s := m.paused; s != nil {
		m.paused = nil
		m.finish(t, s, rapid.IntRange(0, len(m.cached)).Draw(t, "writes"))
	}
}

func (m *world) writeLedger(t *rapid.T, s *step) bool {
	changed, err := s.plan.ledger.Changed()
	if err != nil {
		t.Fatal(err)
	}
	s.written = s.written || !changed || m.store(t, s.plan.ledger)
	return s.written
}

// finish writes some of what is to be written.
func (m *world) finish(t *rapid.T, s *step, writes int) {
	if !m.writeLedger(t, s) {
		return
	}
	for _, namespace := range slices.Sorted(maps.Keys(s.snapshot))[:writes] {
		is := s.snapshot[namespace]
		changed := is.DeepCopy()
		if s.plan.apply(changed) && (!maps.Equal(is.Annotations, changed.Annotations) || !sameQuantities(is.Spec.Hard, changed.Spec.Hard)) {
			m.write(changed)
		}
	}
}

// remake deletes a ResourceQuota, and makes it anew.
func (m *world) remake(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "remade") > 0 {
		return
	}
	namespace := rapid.SampledFrom(m.names()).Draw(t, "namespace")
	m.quotas[namespace] = m.made(namespace)
}

func (m *world) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.Int64Range(1, int64(2*ledger.Hold)).Draw(t, "waited")))
}

func (m *world) check(t *rapid.T) {
	l, err := m.ledgers.Get(m.ctx, m.tenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	if l == nil {
		l = ledger.New()
	}
	objects, counted, unseen := int64(0), int64(0), int64(0)
	for namespace, q := range m.quotas {
		objects += int64(len(m.objects[namespace]))
		counted += used(q)
		unseen += m.unseen[namespace]
		if said, ok := ledger.GrantedBy(q)["pods"]; ok && said.Cmp(l.Of(namespace, "pods").Granted) > 0 {
			t.Fatalf("%s says that %s is granted, the ledger %+v", namespace, said.String(), l.Of(namespace, "pods"))
		}
	}
	if most := m.limit() + unseen; objects > most || counted > most {
		t.Fatalf("%d objects, %d are said to be used, of %d", objects, counted, most)
	}
	for namespace := range m.quotas {
		if granted := l.Of(namespace, "pods").Granted; objects <= m.limit() && int64(len(m.objects[namespace])) <= granted.Value() {
			m.unseen[namespace] = 0 // all of it is known
		}
	}
}

// settle holds that everything can be used once it has come to rest, and by whom.
func (m *world) settle(t *rapid.T) {
	m.paused, m.inside = nil, true
	round := func() {
		m.now = m.now.Add(2 * ledger.Hold)
		for _, namespace := range m.names() {
			m.count(namespace)
		}
		m.cacheNow(t)
		if s := m.read(t); s != nil {
			m.finish(t, s, len(m.cached))
		}
	}
	for range 8 {
		round()
	}
	count := func() (n int64) {
		for _, objects := range m.objects {
			n += int64(len(objects))
		}
		return n
	}
	namespace := rapid.SampledFrom(m.names()).Draw(t, "namespace")
	for m.limit() > count() {
		if left := m.limit() - count(); !m.admitTo(t, namespace, max(1, left/3)) {
			t.Fatalf("%d of %d are used, and %s gets no more: %+v", count(), m.limit(), namespace, m.quotas[namespace])
		}
		for range 6 {
			round()
		}
	}
	for _, namespace := range m.names() {
		if m.admitTo(t, namespace, 1) && count() > m.limit() {
			t.Fatalf("%s gets one more", namespace)
		}
	}
	// At rest nothing is written.
	for range 8 {
		round()
	}
	before := m.revision
	round()
	if m.revision != before {
		t.Fatalf("%d writes at rest", m.revision-before)
	}
}
