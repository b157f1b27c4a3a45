// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestNext(t *testing.T) {
	granted := func(n string, ahead bool) ledger.Grant {
		return ledger.Grant{Granted: resource.MustParse(n), Ahead: ahead}
	}
	raised := func(n string, ahead bool, age time.Duration) ledger.Grant {
		return granted(n, ahead).Raise(resource.MustParse(n), start.Add(-age))
	}
	old := raised("5", false, time.Minute)
	for name, test := range map[string]struct {
		// limit and used are of the one namespace, said and settling its annotations,
		// and counted says that its limit has been.
		limit, used    string
		said, settling string
		counted        bool
		grant, want    ledger.Grant
		// wantSaid and wantSettling are what it is to say, and wantHard its limit.
		wantSaid, wantSettling, wantHard string
		busy, wakes                      bool
	}{
		"handed out ahead":                   {limit: "80", used: "0", want: granted("10", true), wantSaid: "pods=10", wantHard: "80"},
		"too little to hand out":             {limit: "7", used: "0", wantHard: "7"},
		"not any more":                       {limit: "80", used: "40", want: ledger.Grant{}, wantHard: "80"},
		"a little is used of it":             {limit: "80", used: "1", said: "pods=10", grant: granted("10", true), want: granted("10", true), wantSaid: "pods=10", wantHard: "80"},
		"more than half is used of it":       {limit: "80", used: "8", said: "pods=10", grant: granted("10", true), want: granted("17", true), wantSaid: "pods=17", wantHard: "80"},
		"granted, and not said yet":          {limit: "80", used: "1", grant: granted("10", true), want: granted("10", true), wantSaid: "pods=10", wantHard: "80"},
		"asked about beyond what is ahead":   {limit: "80", used: "12", said: "pods=10", grant: raised("12", true, time.Second), want: raised("12", true, time.Second), wantSaid: "pods=10", wantHard: "80", busy: true, wakes: true},
		"and later":                          {limit: "80", used: "12", said: "pods=10", grant: raised("12", true, time.Minute), want: raised("12", true, time.Minute), wantSaid: "pods=10", wantSettling: "pods=2026-01-02T03:03:05.000000Z", wantHard: "81"},
		"little is left":                     {limit: "80", used: "61", said: "pods=66", grant: granted("66", true), want: granted("66", true), wantHard: "80"},
		"little is left, and it is not said": {limit: "80", used: "61", grant: granted("66", true), want: raised("66", false, 0), wantHard: "80", wakes: true},
		"much was deleted":                   {limit: "80", used: "0", said: "pods=50", grant: granted("50", true), want: granted("50", true), wantHard: "80"},
		"said, and not granted":              {limit: "8", used: "3", said: "pods=5", grant: old, want: old, wantHard: "8"},
		"let in a moment ago":                {limit: "8", used: "3", grant: raised("5", false, time.Second), want: raised("5", false, time.Second), wantHard: "8", busy: true, wakes: true},
		"let in before":                      {limit: "8", used: "3", grant: old, want: old, wantSettling: "pods=" + old.Token(), wantHard: "9"},
		"to be counted":                      {limit: "8", used: "3", settling: "pods=" + old.Token(), grant: old, want: old, wantSettling: "pods=" + old.Token(), wantHard: "8"},
		"counted":                            {limit: "8", used: "3", settling: "pods=" + old.Token(), counted: true, grant: old, want: granted("3", false), wantHard: "8"},
		"counted for another one":            {limit: "8", used: "3", settling: "pods=settled", counted: true, grant: old, want: old, wantSettling: "pods=" + old.Token(), wantHard: "9"},
		"deleted":                            {limit: "8", used: "3", counted: true, grant: granted("5", false), want: granted("5", false), wantSettling: "pods=settled", wantHard: "9"},
		"in use":                             {limit: "8", used: "5", grant: granted("5", false), want: granted("5", false), wantHard: "8"},
	} {
		t.Run(name, func(t *testing.T) {
			q := quota("oil-a", list{"pods": test.limit}, list{"pods": test.used})
			q.Annotations = map[string]string{}
			for name, value := range map[string]string{ledger.GrantedAnnotation: test.said, ledger.SettlingAnnotation: test.settling} {
				if value != "" {
					q.Annotations[name] = value
				}
			}
			if test.counted {
				q.Status.Hard = q.Spec.Hard
			}
			l := ledger.New()
			l.Set("oil-a", "pods", test.grant)
			hard := quantities(list{"pods": test.limit})
			quotas := []*corev1.ResourceQuota{q}
			p := newPlan(l, hard, Total(hard, quotas), quotas, start)
			if got := l.Of("oil-a", "pods"); got.Token() != test.want.Token() || got.Ahead != test.want.Ahead || got.Granted.Cmp(test.want.Granted) != 0 {
				t.Errorf("want the grant %+v, got %+v", test.want, got)
			}
			changed := q.DeepCopy()
			p.apply(changed)
			hardest := changed.Spec.Hard["pods"]
			want := [...]string{test.wantSaid, test.wantSettling, test.wantHard}
			got := [...]string{changed.Annotations[ledger.GrantedAnnotation], changed.Annotations[ledger.SettlingAnnotation], hardest.String()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("said, settling and limit (-want +got):\n%s", diff)
			}
			if p.notes["oil-a"].busy != test.busy || p.wake.IsZero() == test.wakes {
				t.Errorf("busy is %v, it wakes at %v", p.notes["oil-a"].busy, p.wake)
			}
		})
	}
}

func TestApplyWaits(t *testing.T) {
	q := quota("oil-a", list{"pods": "8"}, list{"pods": "3"})
	p := &plan{hard: q.Spec.Hard, notes: map[string]*note{"oil-a": {busy: true}}}
	if p.apply(q.DeepCopy()) {
		t.Error("its limit cannot wait")
	}
	q.Annotations = map[string]string{ledger.GrantedAnnotation: "pods=5"}
	if !p.apply(q.DeepCopy()) {
		t.Error("what it says is granted can wait")
	}
}

func TestOtherThan(t *testing.T) {
	for given, want := range map[[2]string]string{
		{"8", "8"}: "9", {"9", "8"}: "10", {"3", "8"}: "9", {"500m", "1500m"}: "2500m", {"1Gi", "1Gi"}: "1073741825",
	} {
		got := otherThan(resource.MustParse(given[0]), resource.MustParse(given[1]))
		if got.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("other than %s, about %s: got %s, want %s", given[0], given[1], got.String(), want)
		}
	}
}

func TestSupply(t *testing.T) {
	for name, test := range map[string]struct {
		resource     corev1.ResourceName
		limit, total string
		short        bool
		chunk        string
		ample        bool
		scarce       bool
	}{
		"pods":              {"pods", "100", "20", false, "2", true, false},
		"too few":           {"pods", "30", "0", false, "0", true, false},
		"cpu":               {"requests.cpu", "4", "0", false, "100m", true, false},
		"more than half":    {"pods", "100", "50", false, "1", false, false},
		"three quarters":    {"pods", "100", "75", false, "0", false, false},
		"more than that":    {"pods", "100", "76", false, "0", false, true},
		"not for everybody": {"pods", "100", "20", true, "0", false, true},
		"nothing":           {"pods", "0", "0", false, "0", false, false},
		"too much is used":  {"pods", "4", "9", false, "0", false, true},
		"memory":            {"memory", "4Gi", "0", false, "107374182", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := supplyOf(test.resource, resource.MustParse(test.limit), resource.MustParse(test.total), 5, test.short)
			if s.chunk.Cmp(resource.MustParse(test.chunk)) != 0 || s.ample != test.ample || s.scarce != test.scarce {
				t.Errorf("got a chunk of %s, ample %v, scarce %v", s.chunk.String(), s.ample, s.scarce)
			}
		})
	}
}

// TestReconcileLedger follows a ledger from its making to its end.
func TestReconcileLedger(t *testing.T) {
	ctx := t.Context()
	t1 := oil(capsulev1beta2.ResourceQuotaScopeTenant, list{"pods": "10"})
	c := newCluster(t, t1, namespaceOf("oil-a", "oil-1"), namespaceOf("oil-b", "oil-1"),
		quota("oil-a", list{"pods": "10"}, list{"pods": "3"}), quota("oil-b", list{"pods": "10"}, list{"pods": "1"}))
	clock := clocktesting.NewFakePassiveClock(start)
	c.ledgers, c.live, c.clock = ledger.NewStore(c.Client, c.Client, "tenancy-system"), c.Client, clock
	granted := func() string {
		t.Helper()
		l, err := c.ledgers.Get(ctx, t1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if l == nil {
			return "none"
		}
		var all []string
		for _, namespace := range []string{"oil-a", "oil-b"} {
			grant := l.Of(namespace, "pods")
			all = append(all, fmt.Sprintf("%s %s %s", namespace, grant.Granted.String(), grant.Token()))
		}
		return strings.Join(all, "; ")
	}
	step := func(what, want string, writes ...string) map[string]*corev1.ResourceQuota {
		t.Helper()
		wrote, quotas := c.reconcile(ctx, t)
		if diff := cmp.Diff(want, granted()); diff != "" {
			t.Errorf("%s: ledger (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(writes, wrote); diff != "" {
			t.Errorf("%s: writes (-want +got):\n%s", what, diff)
		}
		return quotas
	}
	count := func(quotas map[string]*corev1.ResourceQuota) {
		t.Helper()
		for _, q := range quotas {
			q.Status.Hard = q.Spec.Hard
			if err := c.Update(ctx, q); err != nil {
				t.Fatal(err)
			}
		}
	}
	const opened = "oil-a 3 2026-01-02T03:04:05.000000Z; oil-b 1 2026-01-02T03:04:05.000000Z"
	step("made", opened)
	result, err := c.Reconcile(ctx, request("oil"))
	if err != nil || result.RequeueAfter != ledger.Hold {
		t.Errorf("want to be called again after %v, got %+v, %v", ledger.Hold, result, err)
	}
	clock.SetTime(start.Add(ledger.Hold))
	count(step("to be counted", opened, "oil-a", "oil-b"))
	const settled = "oil-a 3 settled; oil-b 1 settled"
	count(step("counted", settled, "oil-a", "oil-b"))
	step("nothing more", settled)

	if err := c.Delete(ctx, quota("oil-b", nil, nil)); err != nil {
		t.Fatal(err)
	}
	count(step("one is gone", "oil-a 3 settled; oil-b 0 settled", "oil-a"))
	t1.Spec.ResourceQuotas.Scope = capsulev1beta2.ResourceQuotaScopeNamespace
	if err := c.Update(ctx, t1); err != nil {
		t.Fatal(err)
	}
	quotas := step("not shared", "none", "oil-a")
	if len(quotas["oil-a"].Annotations) > 0 {
		t.Errorf("annotations are left: %v", quotas["oil-a"].Annotations)
	}
	t1.Spec.ResourceQuotas.Scope = capsulev1beta2.ResourceQuotaScopeTenant
	if err := c.Update(ctx, t1); err != nil {
		t.Fatal(err)
	}
	step("shared again", "oil-a 3 2026-01-02T03:04:10.000000Z; oil-b 0 settled")
	if err := c.Delete(ctx, t1); err != nil {
		t.Fatal(err)
	}
	step("the Tenant is gone", "none")
	if err := c.Get(ctx, client.ObjectKey{Namespace: "tenancy-system", Name: "capsule-oil-0"}, &corev1.ConfigMap{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the ledger is there: %v", err)
	}
}
