// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"tenancy.capsule.io/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	oil    = tenant.Ref{Name: "oil", UID: "1"}
	newOil = tenant.Ref{Name: "oil", UID: "2"}
	gas    = tenant.Ref{Name: "gas", UID: "3"}
)

func TestOf(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		given func(*Store)
		want  []Report
	}{
		"nothing": {given: func(*Store) {}},
		"in order": {
			given: func(s *Store) {
				s.Set(oil, "namespaces", "oil-prod", failed)
				s.Set(oil, "namespaces", "oil-dev", errors.New("other"))
				s.Set(oil, "access", "", failed)
				s.Set(gas, "access", "", failed)
				s.Set(newOil, "access", "", failed)
			},
			want: []Report{
				{Source: "access", Message: "failed"},
				{Source: "namespaces", Namespace: "oil-dev", Message: "other"},
				{Source: "namespaces", Namespace: "oil-prod", Message: "failed"},
			},
		},
		"the last one counts": {
			given: func(s *Store) {
				s.Set(oil, "access", "", errors.New("other"))
				s.Set(oil, "access", "", failed)
			},
			want: []Report{{Source: "access", Message: "failed"}},
		},
		"in one line": {
			given: func(s *Store) { s.Set(oil, "access", "", errors.Join(failed, failed)) },
			want:  []Report{{Source: "access", Message: "failed; failed"}},
		},
		"taken back": {
			given: func(s *Store) {
				s.Set(oil, "namespaces", "oil-prod", failed)
				s.Set(oil, "access", "", failed)
				s.Set(oil, "namespaces", "oil-prod", nil)
			},
			want: []Report{{Source: "access", Message: "failed"}},
		},
		"the dead are forgotten": {
			given: func(s *Store) {
				s.Set(oil, "access", "", failed)
				s.Set(oil, "namespaces", "oil-prod", failed)
				s.Forget("oil", newOil.UID)
			},
		},
		"the living are not": {
			given: func(s *Store) {
				s.Set(oil, "access", "", failed)
				s.Forget("oil", oil.UID)
				s.Forget("gas", "")
			},
			want: []Report{{Source: "access", Message: "failed"}},
		},
		"a namespace is forgotten": {
			given: func(s *Store) {
				s.Set(oil, "access", "", failed)
				s.Set(oil, "access", "oil-prod", failed)
				s.Set(oil, "namespaces", "oil-prod", failed)
				s.Set(oil, "namespaces", "oil-dev", failed)
				s.ForgetNamespace("oil-prod", tenant.Ref{})
			},
			want: []Report{
				{Source: "access", Message: "failed"},
				{Source: "namespaces", Namespace: "oil-dev", Message: "failed"},
			},
		},
		"a namespace changes hands": {
			given: func(s *Store) {
				s.Set(gas, "namespaces", "prod", failed)
				s.Set(oil, "namespaces", "prod", failed)
				s.ForgetNamespace("prod", oil)
			},
			want: []Report{{Source: "namespaces", Namespace: "prod", Message: "failed"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := New()
			test.given(s)
			if diff := gocmp.Diff(test.want, s.Of(oil), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	s := New()
	s.Set(oil, "namespaces", "oil-prod", errors.New("failed"))
	s.Set(gas, "namespaces", "gas-prod", errors.New("failed"))
	s.Set(gas, "access", "gas-dev", errors.New("failed"))
	s.Set(gas, "namespaces", "", errors.New("failed"))
	if diff := gocmp.Diff([]string{"gas-prod", "oil-prod"}, s.Namespaces("namespaces")); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

// TestSource holds the store to wake its reader once for what changed, and not for
// what did not.
func TestSource(t *testing.T) {
	s := New()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	s.Set(oil, "access", "", errors.New("before the reader came"))
	if err := s.Source(0).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	wantNext := func(step, name string) {
		t.Helper()
		if queue.Len() != 1 {
			t.Fatalf("%s: want one request, got %d", step, queue.Len())
		}
		got, _ := queue.Get()
		queue.Done(got)
		if want := (reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}); got != want {
			t.Fatalf("%s: want %v, got %v", step, want, got)
		}
	}
	wantNext("start", "oil")
	s.Set(gas, "namespaces", "gas-prod", errors.New("failed"))
	s.Set(gas, "access", "", errors.New("failed"))
	wantNext("failures", "gas")
	s.Set(gas, "access", "", errors.New("failed"))
	s.Set(gas, "access", "gas-prod", nil)
	s.Forget("oil", "")
	s.ForgetNamespace("oil-prod", tenant.Ref{})
	if queue.Len() != 0 {
		t.Fatalf("woken by nothing new: %d", queue.Len())
	}
	s.ForgetNamespace("gas-prod", tenant.Ref{})
	wantNext("namespace gone", "gas")
	s.Set(gas, "access", "", nil)
	wantNext("success", "gas")
}

func TestConcurrency(t *testing.T) {
	s := New()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 200 {
				namespace := fmt.Sprintf("ns-%d", i%3)
				s.Set(oil, "namespaces", namespace, fmt.Errorf("failure %d", i))
				s.Of(oil)
				s.Namespaces("namespaces")
				s.Set(oil, "namespaces", namespace, nil)
				s.ForgetNamespace(namespace, tenant.Ref{})
				s.Forget("oil", "")
			}
			if worker == 0 {
				if err := s.Source(time.Nanosecond).Start(t.Context(), queue); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if len(s.of)+len(s.in) != 0 {
		t.Errorf("something is left: %v, %v", s.of, s.in)
	}
}

// TestModel compares the store with the plain list of its reports.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			ref               tenant.Ref
			source, namespace string
		}
		s, model := New(), map[key]string{}
		refs := rapid.SampledFrom([]tenant.Ref{oil, newOil, gas})
		namespaces := rapid.SampledFrom([]string{"a", "b", ""})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k := key{refs.Draw(t, "ref"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "source"), namespaces.Draw(t, "namespace")}
				message := rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "message")
				if message == "" {
					delete(model, k)
					s.Set(k.ref, k.source, k.namespace, nil)
					return
				}
				model[k] = message
				s.Set(k.ref, k.source, k.namespace, errors.New(message))
			},
			"forget": func(t *rapid.T) {
				ref := refs.Draw(t, "ref")
				s.Forget(ref.Name, ref.UID)
				for k := range model {
					if k.ref.Name == ref.Name && k.ref != ref {
						delete(model, k)
					}
				}
			},
			"forget namespace": func(t *rapid.T) {
				namespace, ref := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"), refs.Draw(t, "ref")
				s.ForgetNamespace(namespace, ref)
				for k := range model {
					if k.namespace == namespace && k.ref != ref {
						delete(model, k)
					}
				}
			},
			"": func(t *rapid.T) {
				for _, ref := range []tenant.Ref{oil, newOil, gas} {
					var want []Report
					for k, message := range model {
						if k.ref == ref {
							want = append(want, Report{Source: k.source, Namespace: k.namespace, Message: message})
						}
					}
					slices.SortFunc(want, func(a, b Report) int {
						return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Namespace, b.Namespace))
					})
					if diff := gocmp.Diff(want, s.Of(ref), cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("reports of %v (-want +got):\n%s", ref, diff)
					}
				}
				if len(model) == 0 && len(s.of)+len(s.in) != 0 {
					t.Fatalf("something is left: %v, %v", s.of, s.in)
				}
			},
		})
	})
}
