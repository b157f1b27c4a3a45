// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/tenant"
)

// reconcilers are a reconciler of Tenants and what it tells others.
type reconcilers struct {
	*tenantReconciler
	clock   *testingclock.FakePassiveClock
	events  *events.FakeRecorder
	reports []string
}

func (c *fakeCluster) reconcilers() *reconcilers {
	r := &reconcilers{clock: testingclock.NewFakePassiveClock(time.Unix(1000, 0)), events: events.NewFakeRecorder(100)}
	r.tenantReconciler = &tenantReconciler{
		compiler: compiler{reader: c, store: store{c}, interests: newInterests()},
		reader:   c, owners: owners.New(c, "default"), policy: policy{writeOperations: true}, recorder: r.events, ages: newAges(r.clock),
		report: func(t tenant.Ref, err error) {
			r.reports = append(r.reports, fmt.Sprintf("%s %s: %v", t.Name, t.UID, err))
		},
	}
	return r
}

// reconcile reconciles a Tenant, which has to succeed.
func (r *reconcilers) reconcile(tb testing.TB, name string) ctrl.Result {
	tb.Helper()
	result, err := r.Reconcile(tb.Context(), requestFor(name))
	must(tb, err)
	return result
}

// told returns the events since the last call.
func (r *reconcilers) told() []string {
	var told []string
	for {
		select {
		case e := <-r.events.Events:
			told = append(told, e)
		default:
			return told
		}
	}
}

// age returns the ages of compiled access as they are scraped.
func (r *reconcilers) age(tb testing.TB, want ...string) {
	tb.Helper()
	var lines []string
	if len(want) > 0 {
		lines = append(lines,
			"# HELP tenancy_controller_access_age_seconds Time since the roles and bindings of a Tenant were last found, or made, to be what it gives.",
			"# TYPE tenancy_controller_access_age_seconds gauge")
	}
	for _, sample := range want {
		lines = append(lines, "tenancy_controller_access_age_seconds"+sample)
	}
	if err := testutil.CollectAndCompare(r.ages, strings.NewReader(strings.Join(append(lines, ""), "\n"))); err != nil {
		tb.Error(err)
	}
}

func TestTenantsAreReconciled(t *testing.T) {
	oil := goldOwners(t, "alice")
	c := newCluster(t, oil, node("a", "tier=gold"))
	r := c.reconcilers()
	if diff := cmp.Diff(ctrl.Result{RequeueAfter: verifyInterval}, r.reconcile(t, "oil")); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(nodesFor("a", "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"oil oil-1: <nil>"}, r.reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	r.clock.SetTime(time.Unix(1042, 0))
	r.age(t, `{tenant="oil"} 42`)

	must(t, c.Client.DeleteAllOf(t.Context(), &capsulev1beta2.Tenant{}))
	r.reconcile(t, "oil")
	if diff := cmp.Diff(map[string][]string{}, c.compiled(t)); diff != "" {
		t.Errorf("compiled for a Tenant that is gone (-want +got):\n%s", diff)
	}
	r.age(t)
	if told := r.told(); len(told) > 0 {
		t.Errorf("told %v", told)
	}
}

func TestOtherOwnersAreReconciled(t *testing.T) {
	c := newCluster(t, goldOwners(t, "alice"), node("a", "tier=gold"), ownerOfOil("bob"))
	c.reconcilers().reconcile(t, "oil")
	want := mixed(nodesFor("a", "User alice"), bound("capsule:tenant:oil:1", []string{getOil}, "User bob"))
	if diff := cmp.Diff(want, c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
}

// TestChangesOfOwners holds that whoever is no owner any more is asked for ahead of
// everything else.
func TestChangesOfOwners(t *testing.T) {
	oil := goldOwners(t, "alice")
	bob := []capsulev1beta2.CoreOwnerSpec{{UserSpec: capsulev1beta2.UserSpec{Kind: "User", Name: "bob"}}}
	finder, q := tenantFinder{newCluster(t, oil, owned("oil-a", oil), owned("oil-b", oil))}, &recorder{}
	for name, test := range map[string]struct {
		given                  owners.Change
		wantTenant, wantOthers []string
	}{
		"a gain": {owners.Change{Tenant: oil, After: bob}, []string{"oil after 100ms"}, []string{"oil-a", "oil-b"}},
		"a loss": {owners.Change{Tenant: oil, Before: bob}, []string{"oil with priority 100"}, []string{"oil-a with priority 100", "oil-b with priority 100"}},
	} {
		t.Run(name, func(t *testing.T) {
			ownersChanged(t.Context(), q, test.given)
			if diff := cmp.Diff(test.wantTenant, q.added()); diff != "" {
				t.Errorf("Tenants asked for (-want +got):\n%s", diff)
			}
			finder.ownersChanged(t.Context(), q, test.given)
			if diff := cmp.Diff(test.wantOthers, q.added()); diff != "" {
				t.Errorf("namespaces asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatCannotBeUnderstoodIsTold(t *testing.T) {
	oil := tenantSpec(t, `{nodeSelector: {tier: "no value"}, storageClasses: {allowedRegex: "(", allowed: [a]}, runtimeClasses: {allowedRegex: "("}, owners: [
		{kind: User, name: alice, proxySettings: [{kind: Nodes, operations: [List]}, {kind: StorageClasses, operations: [List]}]}]}`)
	c := newCluster(t, oil, node("a"))
	r := c.reconcilers()
	r.reconcile(t, "oil")
	told := r.told()
	if len(told) != 2 || !strings.HasPrefix(told[0], "Warning InvalidField spec.nodeSelector: ") || !strings.HasPrefix(told[1], "Warning InvalidField spec.storageClasses.allowedRegex: ") {
		t.Errorf("told %q", told)
	}
	if diff := cmp.Diff(bound("capsule:tenant:oil:83", []string{getOil}, "User alice"), c.compiled(t)); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeWrittenIsTold(t *testing.T) {
	c := newCluster(t, goldOwners(t, "alice"))
	r := c.reconcilers()
	refusal := apierrors.NewForbidden(rbacv1.Resource("clusterroles"), oilsRole, errors.New("not held: "+strings.Repeat("é", 1000)))
	c.refuse = func(string) error { return refusal }
	if _, err := r.Reconcile(t.Context(), requestFor("oil")); !errors.Is(err, refusal) {
		t.Errorf("got error %v", err)
	}
	told := r.told()
	if len(told) != 1 || !strings.HasPrefix(told[0], "Warning AccessFailed write ClusterRole "+oilsRole+": ") {
		t.Errorf("told %q", told)
	}
	if note := strings.TrimPrefix(told[0], "Warning AccessFailed "); len(note) > 1024 || !utf8.ValidString(note) {
		t.Errorf("the API server refuses a note of %d bytes: %q", len(note), note)
	}
	if len(r.reports) != 1 || !strings.Contains(r.reports[0], "not held") {
		t.Errorf("reports %v", r.reports)
	}
	r.age(t)

	c.refuse = nil
	r.reconcile(t, "oil")
	if len(r.reports) != 2 || r.reports[1] != "oil oil-1: <nil>" {
		t.Errorf("reports %v", r.reports)
	}
	r.age(t, `{tenant="oil"} 0`)

	// What is compiled grows old while it cannot be written.
	r.clock.SetTime(time.Unix(1600, 0))
	must(t, c.Create(t.Context(), node("a", "tier=gold")))
	c.refuse = func(string) error { return refusal }
	if _, err := r.Reconcile(t.Context(), requestFor("oil")); err == nil {
		t.Error("got no error")
	}
	r.age(t, `{tenant="oil"} 600`)
}

func TestAConflictIsNoFailure(t *testing.T) {
	c := newCluster(t, goldOwners(t, "alice"))
	r := c.reconcilers()
	c.refuse = func(string) error {
		return apierrors.NewConflict(rbacv1.Resource("clusterroles"), oilsRole, errors.New("changed"))
	}
	if diff := cmp.Diff(ctrl.Result{RequeueAfter: conflictDelay}, r.reconcile(t, "oil")); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if told := r.told(); len(told)+len(r.reports) > 0 {
		t.Errorf("told %v, reported %v", told, r.reports)
	}
	r.age(t)
}

func TestShortened(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{"", ""}, {"0123456789", "0123456789"}, {"0123456789a", "012345 ..."}, {"01234éééé", "01234 ..."},
	} {
		if got := shortened(test.given, 10); got != test.want {
			t.Errorf("%q is shortened to %q, want %q", test.given, got, test.want)
		}
	}
}
