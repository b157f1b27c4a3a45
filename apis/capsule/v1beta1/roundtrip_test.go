// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func pick[T any](c randfill.Continue, from ...T) T {
	return from[c.Intn(len(from))]
}

// newFiller fills Tenants with what is hard to convert: subjects that are listed twice,
// roles and keys that annotations cannot say, annotations that mean something.
func newFiller(seed int64) *randfill.Filler {
	annotations := func(c randfill.Continue) map[string]string {
		if c.Bool() {
			return nil
		}
		out := map[string]string{"note": c.String(5)}
		for range c.Intn(4) {
			key := pick(c, cordonAnnotation, protectedAnnotation, denyWildcardAnnotation,
				labelsCarrier.exact, labelsCarrier.regex, annotationsCarrier.exact, annotationsCarrier.regex,
				rolesByIndex(0), rolesByIndex(1), rolesByIndex(7), rolesPrefix+"user.alice", rolesPrefix+"group.a__AT__b", rolesPrefix+"00")
			out[key] = pick(c, "", "true", "false", "yes", "a", "a,b", "admin,capsule-namespace-deleter", c.String(5))
		}
		return out
	}
	custom := func(serializer.CodecFactory) []any {
		return []any{
			func(o *metav1.ObjectMeta, c randfill.Continue) {
				o.Name, o.Annotations = c.String(8), annotations(c)
			},
			func(u *capsulev1beta2.UserSpec, c randfill.Continue) {
				u.Kind = pick(c, capsulev1beta2.UserOwner, capsulev1beta2.GroupOwner)
				u.Name = pick(c, "alice", "Alice", "bob", "a@b", c.String(5))
			},
			func(o *capsulev1beta2.CoreOwnerSpec, c randfill.Continue) {
				c.Fill(&o.UserSpec)
				o.ClusterRoles = pick(c, nil, []string{}, defaultRoles(), []string{"a"}, []string{"a", "b"}, []string{"a,b"}, []string{""}, []string{c.String(5)})
			},
			func(l *capsulev1beta2.ForbiddenList, c randfill.Continue) {
				l.Denied = pick(c, nil, []string{"a"}, []string{"a", "b"}, []string{"a,b"}, []string{""}, []string{c.String(5)})
				l.DeniedRegex = pick(c, "", "a,b", c.String(5))
			},
			func(s *capsulev1beta2.TenantState, c randfill.Continue) {
				*s = pick(c, "", capsulev1beta2.TenantStateActive, capsulev1beta2.TenantStateCordoned, capsulev1beta2.TenantStateTerminating)
			},
			func(s *TenantState, c randfill.Continue) {
				*s = pick(c, "", TenantStateActive, TenantStateCordoned)
			},
			func(j *apiextensionsv1.JSON, c randfill.Continue) {
				j.Raw = []byte(pick(c, "{}", "[]", "0", `"a"`, `{"a":[1,2.5,1e30,true,null,"<&>"]}`))
			},
			func(i *intstr.IntOrString, c randfill.Continue) {
				*i = pick(c, intstr.FromInt32(c.Int31()), intstr.FromString(c.String(5)))
			},
			func(t *metav1.MicroTime, c randfill.Continue) {
				*t = metav1.UnixMicro(c.Int63()%1e9, 0)
			},
			func(s *rbacv1.Subject, c randfill.Continue) {
				s.Kind, s.Name, s.Namespace = c.String(5), c.String(5), c.String(5)
			},
		}
	}
	codecs := serializer.NewCodecFactory(runtime.NewScheme())
	return randfill.NewWithSeed(seed).NilChance(.4).NumElements(0, 3).
		Funcs(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, custom)(codecs)...)
}

// throughJSON returns what the webhook makes of an object that it is sent.
func throughJSON[T any](tb testing.TB, from *T) *T {
	tb.Helper()
	to := new(T)
	if err := json.Unmarshal(toJSON(tb, from), to); err != nil {
		tb.Fatal(err)
	}
	return to
}

func toJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// diff compares what is sent.
func diff(tb testing.TB, want, got any) string {
	tb.Helper()
	wantJSON, gotJSON := toJSON(tb, want), toJSON(tb, got)
	if bytes.Equal(wantJSON, gotJSON) {
		return ""
	}
	var wantValue, gotValue any
	if err := json.Unmarshal(wantJSON, &wantValue); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(gotJSON, &gotValue); err != nil {
		tb.Fatal(err)
	}
	return cmp.Diff(wantValue, gotValue)
}

func up(tb testing.TB, from *Tenant) *capsulev1beta2.Tenant {
	tb.Helper()
	to := &capsulev1beta2.Tenant{}
	before := from.DeepCopy()
	if err := from.ConvertTo(to); err != nil {
		tb.Fatal(err)
	}
	if d := diff(tb, before, from); d != "" {
		tb.Fatalf("ConvertTo changed what it read (-before +after):\n%s", d)
	}
	return throughJSON(tb, to)
}

func down(tb testing.TB, from *capsulev1beta2.Tenant) *Tenant {
	tb.Helper()
	to := &Tenant{}
	before := from.DeepCopy()
	if err := to.ConvertFrom(from); err != nil {
		tb.Fatal(err)
	}
	if d := diff(tb, before, from); d != "" {
		tb.Fatalf("ConvertFrom changed what it read (-before +after):\n%s", d)
	}
	return throughJSON(tb, to)
}

// TestRoundTrip converts the same objects every time, TestRoundTripRandom others.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	testRoundTrips(t, 1, 60)
}

func TestRoundTripRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Int64()
	t.Logf("seed %d", seed)
	testRoundTrips(t, seed, 20)
}

func testRoundTrips(t *testing.T, seed int64, iterations int) {
	t.Helper()
	filler := newFiller(seed)
	for range iterations {
		hub := &capsulev1beta2.Tenant{}
		filler.Fill(hub)
		hub = throughJSON(t, hub)
		if d := diff(t, hub, up(t, down(t, hub))); d != "" {
			t.Fatalf("v1beta2 through v1beta1 (-before +after):\n%s\n%s", d, toJSON(t, down(t, hub)))
		}

		old := &Tenant{}
		filler.Fill(old)
		old = throughJSON(t, old)
		converted := up(t, old)
		again := down(t, converted)
		if d := diff(t, meaning(old), meaning(again)); d != "" {
			t.Fatalf("v1beta1 through v1beta2 (-before +after):\n%s", d)
		}
		if d := diff(t, converted, up(t, again)); d != "" {
			t.Fatalf("v1beta1 through v1beta2, as v1beta2 (-before +after):\n%s", d)
		}
	}
}

// meaning takes away what is no difference in v1beta1. What annotations mean is seen in
// v1beta2.
func meaning(t *Tenant) *Tenant {
	t = t.DeepCopy()
	t.Annotations = nil
	if t.Spec.Owners == nil {
		t.Spec.Owners = []OwnerSpec{}
	}
	if t.Spec.NamespaceOptions == nil {
		t.Spec.NamespaceOptions = &NamespaceOptions{}
	}
	if t.Spec.IngressOptions == nil {
		t.Spec.IngressOptions = &IngressOptions{}
	}
	if t.Status.State == "" {
		t.Status.State = TenantStateActive
	}
	return t
}
