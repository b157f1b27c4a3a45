// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

func pods(n int64) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(n, resource.DecimalSI)}
}

// grant returns one that is settled.
func grant(n int64) Grant { return Grant{Granted: *resource.NewQuantity(n, resource.DecimalSI)} }

func quota(revision string, used int64, annotations ...string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "capsule-oil-0", UID: "1", ResourceVersion: revision},
		Status:     corev1.ResourceQuotaStatus{Used: pods(used)},
	}
	for pair := range slices.Chunk(annotations, 2) {
		metav1.SetMetaDataAnnotation(&q.ObjectMeta, pair[0], pair[1])
	}
	return q
}

func TestGrowths(t *testing.T) {
	used := func(cpu, pods string) corev1.ResourceList {
		return corev1.ResourceList{"requests.cpu": resource.MustParse(cpu), "pods": resource.MustParse(pods)}
	}
	for name, test := range map[string]struct {
		granted string
		was, is corev1.ResourceList
		want    []corev1.ResourceName
	}{
		"nothing":                {was: used("1", "1"), is: used("1000m", "1")},
		"less":                   {was: used("1", "1"), is: used("500m", "0")},
		"one of two":             {was: used("1", "1"), is: used("1", "2"), want: []corev1.ResourceName{"pods"}},
		"both, in order":         {is: used("1", "2"), want: []corev1.ResourceName{"pods", "requests.cpu"}},
		"from nothing to none":   {is: used("0", "0")},
		"as much as is granted":  {granted: "pods=2,requests.cpu=1500m", was: used("1", "1"), is: used("1.5", "2")},
		"more than is granted":   {granted: "pods=2,requests.cpu=1500m", was: used("1", "1"), is: used("1501m", "2"), want: []corev1.ResourceName{"requests.cpu"}},
		"of another resource":    {granted: "count/pods=2", was: used("1", "1"), is: used("1", "2"), want: []corev1.ResourceName{"pods"}},
		"granted is no quantity": {granted: "pods=many", was: used("1", "1"), is: used("1", "2"), want: []corev1.ResourceName{"pods"}},
	} {
		t.Run(name, func(t *testing.T) {
			was := quota("1", 0, GrantedAnnotation, test.granted)
			is := was.DeepCopy()
			was.Status.Used, is.Status.Used = test.was, test.is
			var got []corev1.ResourceName
			for _, growth := range Growths(was, is) {
				got = append(got, growth.Resource)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("growths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	pairs := map[corev1.ResourceName]string{"requests.cpu": "2", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "pods": "5"}
	const text = "gold.storageclass.storage.k8s.io/requests.storage=1Gi,pods=5,requests.cpu=2"
	if diff := cmp.Diff(text, FormatList(pairs)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pairs, ParseList(text+",nonsense,")); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
}

func TestApprove(t *testing.T) {
	recent := grant(3).Raise(resource.MustParse("3"), now.Add(-time.Second))
	for name, test := range map[string]struct {
		// given is the grant of the namespace, and others those of another one, which
		// uses so much.
		given, others Grant
		othersUse     int64
		from, to      int64
		// want is what is granted then; 0 is a refusal.
		want int64
		held bool
	}{
		"the first":                             {to: 2, want: 2},
		"all of it":                             {to: 10, want: 10},
		"too much":                              {to: 11},
		"what others leave":                     {others: grant(4), othersUse: 4, to: 6, want: 6},
		"more than others leave":                {others: grant(4), othersUse: 4, to: 7},
		"what others were granted":              {others: grant(4), to: 7, held: true},
		"what others use without asking":        {othersUse: 4, to: 7},
		"after something was deleted":           {given: grant(5), from: 3, to: 4, want: 4},
		"what was let in may not be counted":    {given: recent, from: 2, to: 3, want: 4},
		"and there is no room for that":         {given: recent, others: grant(7), othersUse: 7, from: 2, to: 3, held: true},
		"counted more than was asked about":     {given: recent, from: 6, to: 7, want: 7},
		"what is ahead may be in use":           {given: Grant{Granted: resource.MustParse("5"), Ahead: true}, from: 1, to: 6, want: 10},
		"and there is no room for both":         {given: Grant{Granted: resource.MustParse("5"), Ahead: true}, from: 1, to: 7, held: true},
		"the limit was lowered, and it is over": {others: grant(20), othersUse: 20, from: 1, to: 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			l.Set("a", "pods", test.given)
			l.Set("b", "pods", test.others)
			growths := []Growth{{"pods", pods(test.from)["pods"], pods(test.to)["pods"]}}
			token, refusals := l.Approve(pods(10), Used{"b": pods(test.othersUse)}, quota("7", test.from), growths, now)
			got := l.Of("a", "pods")
			if test.want == 0 {
				if token != "" || len(refusals) != 1 || refusals[0].Held != test.held || !cmp.Equal(test.given, got) {
					t.Errorf("want a refusal, held %v, got %q, %+v, grant %+v", test.held, token, refusals, got)
				}
				return
			}
			if len(refusals) > 0 || got.Granted.Value() != test.want || got.Token() != token || got.Raised == nil {
				t.Errorf("want a grant of %d, got %q, %+v, %+v", test.want, token, got, refusals)
			}
		})
	}
}

// TestApproveAllOrNothing asks for two resources, of which one is short.
func TestApproveAllOrNothing(t *testing.T) {
	limits := corev1.ResourceList{"pods": resource.MustParse("10"), "cpu": resource.MustParse("1")}
	growths := []Growth{{"cpu", resource.Quantity{}, resource.MustParse("2")}, {"pods", resource.Quantity{}, resource.MustParse("1")}}
	l := New()
	token, refusals := l.Approve(limits, nil, quota("7", 0), growths, now)
	if token != "" || len(refusals) != 1 || refusals[0].Resource != "cpu" || len(l.Grants("a")) > 0 {
		t.Errorf("want cpu to be refused, and no grant, got %q, %+v, %+v", token, refusals, l.Grants("a"))
	}
	// What is not limited is nobody's business.
	if token, refusals := l.Approve(pods(10), nil, quota("7", 0), growths[:1], now); token != "" || refusals != nil {
		t.Errorf("want nothing to be said, got %q, %+v", token, refusals)
	}
}

func TestResolve(t *testing.T) {
	for name, test := range map[string]struct {
		revision string
		uid      types.UID
		written  bool
		want     int64
		pending  bool
	}{
		"the same revision":               {revision: "7", want: 5, pending: true},
		"an older one":                    {revision: "6", want: 5, pending: true},
		"it was written":                  {revision: "8", written: true, want: 5},
		"something else was":              {revision: "8", want: 3},
		"a longer number":                 {revision: "10", want: 3},
		"another ResourceQuota was made":  {revision: "8", uid: "2", want: 5},
		"a revision that cannot be known": {revision: "x", want: 5, pending: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			l.Set("a", "pods", grant(3))
			token, _ := l.Approve(pods(10), nil, quota("7", 3), []Growth{{"pods", pods(3)["pods"], pods(5)["pods"]}}, now)
			q := quota(test.revision, 5)
			if test.uid != "" {
				q.UID = test.uid
			}
			if test.written {
				q.Annotations = map[string]string{ApprovedAnnotation: token}
			}
			l.Resolve(q)
			got := l.Of("a", "pods")
			if got.Granted.Value() != test.want || (l.Accounts["a"].Pending != nil) != test.pending {
				t.Errorf("want %d, pending %v, got %+v, %+v", test.want, test.pending, got, l.Accounts["a"].Pending)
			}
		})
	}
}

// TestApproveTwice has two requests judged for the same revision, of which either may
// be written.
func TestApproveTwice(t *testing.T) {
	growth := func(to int64) []Growth { return []Growth{{"pods", pods(0)["pods"], pods(to)["pods"]}} }
	for name, test := range map[string]struct {
		written int
		want    int64
	}{"the first": {0, 3}, "the second": {1, 5}, "neither": {2, 3}} {
		t.Run(name, func(t *testing.T) {
			l := New()
			first, _ := l.Approve(pods(10), nil, quota("7", 0), growth(3), now)
			second, _ := l.Approve(pods(10), nil, quota("7", 0), growth(2), now.Add(time.Millisecond))
			l.Resolve(quota("8", 0, ApprovedAnnotation, []string{first, second, ""}[test.written]))
			granted := l.Of("a", "pods").Granted
			if got := granted.Value(); got != test.want {
				t.Errorf("want a grant of %d, got %d", test.want, got)
			}
		})
	}
	l := New()
	l.Approve(pods(10), nil, quota("7", 0), growth(3), now)
	if token, refusals := l.Approve(pods(10), nil, quota("6", 0), growth(20), now); token != "" || refusals != nil {
		t.Errorf("an older revision: want nothing to be said, got %q, %+v", token, refusals)
	}
}

func TestMeet(t *testing.T) {
	l := New()
	l.Set("a", "pods", grant(3))
	q := quota("7", 3)
	l.Meet(q, pods(10), now)
	first := l.Of("a", "pods")
	if first.Granted.Value() != 3 || first.Raised == nil || l.Of("a", "cpu").Raised != nil {
		t.Errorf("want pods to be settled, got %+v", l.Grants("a"))
	}
	l.Meet(q, pods(10), now.Add(time.Second))
	if diff := cmp.Diff(first, l.Of("a", "pods")); diff != "" {
		t.Errorf("met before (-want +got):\n%s", diff)
	}
	q.UID = "2"
	l.Meet(q, pods(10), now.Add(time.Second))
	if got := l.Of("a", "pods"); got.Token() == first.Token() {
		t.Errorf("want another one to be settled, got %+v", got)
	}
}

func TestShort(t *testing.T) {
	l := New()
	ask := func(at time.Time) {
		l.Approve(pods(10), nil, quota("7", 0), []Growth{{"pods", pods(0)["pods"], pods(8)["pods"]}}, at)
	}
	l.Set("b", "pods", grant(5))
	ask(now)
	if l.IsShort("pods", now) {
		t.Error("nobody has anything ahead")
	}
	l.Set("b", "pods", Grant{Granted: resource.MustParse("5"), Ahead: true})
	ask(now)
	if !l.IsShort("pods", now.Add(59*time.Second)) || l.IsShort("pods", now.Add(61*time.Second)) || l.IsShort("cpu", now) {
		t.Errorf("want it to be short for a minute, got %+v", l.Short)
	}
	before := l.Short["pods"]
	ask(now.Add(5 * time.Second))
	if !cmp.Equal(before, l.Short["pods"]) {
		t.Error("that is written too often")
	}
}

func TestHeld(t *testing.T) {
	for age, want := range map[time.Duration]bool{
		0: true, Hold - time.Second: true, Hold: false, time.Hour: false, -time.Second: true, -time.Hour: false,
	} {
		if _, got := grant(1).Raise(resource.MustParse("1"), now.Add(-age)).Held(now); got != want {
			t.Errorf("raised %v ago: held is %v", age, got)
		}
	}
	if _, held := grant(1).Held(now); held {
		t.Error("a settled grant is held")
	}
}

func TestEncode(t *testing.T) {
	l := New()
	l.Set("b", "requests.cpu", Grant{Granted: resource.MustParse("1500m"), Ahead: true})
	l.Set("empty", "pods", Grant{})
	l.Short["pods"] = metav1.NewMicroTime(now.Truncate(time.Microsecond))
	token, _ := l.Approve(pods(10), nil, quota("7", 0), []Growth{{"pods", pods(0)["pods"], pods(2)["pods"]}}, now)
	data, err := l.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": `{"grants":{"pods":{"granted":"2","raised":"2026-01-02T03:04:05.678901Z"}},"revision":"7",` +
			`"pending":{"uid":"1","token":"2026-01-02T03:04:05.678901Z","before":{"pods":{"granted":"0"}}}}`,
		"b":      `{"grants":{"requests.cpu":{"granted":"1500m","ahead":true}}}`,
		"_short": `{"pods":"2026-01-02T03:04:05.678901Z"}`,
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	read, err := decode(&corev1.ConfigMap{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := read.Changed(); changed || err != nil || read.Of("a", "pods").Token() != token || read.Of("empty", "pods").Token() != "settled" {
		t.Errorf("what is read differs: %v, %v, %+v", changed, err, read)
	}
	for key, text := range map[string]string{"a": "{", "_short": "{"} {
		if _, err := decode(&corev1.ConfigMap{Data: map[string]string{key: text}}); err == nil {
			t.Errorf("%s: %q was read", key, text)
		}
	}
}
