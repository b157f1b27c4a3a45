// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// benchTenants is how many users share the bindings of a benchmark.
const benchTenants = 1000

func benchUser(i int) string      { return fmt.Sprintf("user-%04d", i%benchTenants) }
func benchNamespace(i int) string { return fmt.Sprintf("namespace-%06d", i) }

// benchBindings returns RoleBindings of the ClusterRole admin, one a namespace.
func benchBindings(count int) []*rbacv1.RoleBinding {
	bindings := make([]*rbacv1.RoleBinding, count)
	for i := range bindings {
		bindings[i] = roleBinding(benchNamespace(i), "admin", "ClusterRole/admin", userSubject(benchUser(i)))
	}
	return bindings
}

// benchRole returns the ClusterRole admin, much as it is in a cluster, with or
// without get of namespaces.
func benchRole(granting bool, pods ...string) *rbacv1.ClusterRole {
	role := clusterRole("admin")
	for i := range 50 {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			Verbs: []string{"create", "delete", "get", "list", "watch"}, APIGroups: []string{fmt.Sprintf("group-%d", i)},
			Resources: []string{"pods", "services", "deployments"}, ResourceNames: pods,
		})
	}
	if granting {
		role.Rules = append(role.Rules, getRule("namespaces"))
	}
	return role
}

func newBenchIndex(b *testing.B, bindings int) *Index {
	b.Helper()
	index := NewIndex(questions...)
	apply(index, benchRole(true))
	index.roleBindingSink().Replace(benchBindings(bindings), "1")
	return index
}

// reader lists the names of a user until it is stopped.
type reader struct {
	reads   atomic.Int64
	longest time.Duration
	ended   chan struct{}
	running sync.WaitGroup
}

func startReader(index *Index) *reader {
	r := &reader{ended: make(chan struct{})}
	r.running.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-r.ended:
				return
			default:
			}
			start := time.Now()
			for range index.Snapshot(getNamespaces).Names([]Subject{NewUser(benchUser(i)), NewGroup("system:authenticated")}, "") {
				continue
			}
			r.longest = max(r.longest, time.Since(start))
			r.reads.Add(1)
		}
	})
	return r
}

// report ends the reader and reports its longest read; what the machine takes
// from the reader, and the garbage collector, are in it.
func (r *reader) report(b *testing.B) {
	b.Helper()
	close(r.ended)
	r.running.Wait()
	b.ReportMetric(float64(r.longest.Microseconds()), "reader-max-µs")
	b.ReportMetric(float64(r.reads.Load())/b.Elapsed().Seconds(), "reads/s")
}

// BenchmarkSharedRole updates the ClusterRole that 50,000 RoleBindings in as
// many namespaces share, while a reader lists.
func BenchmarkSharedRole(b *testing.B) {
	for name, role := range map[string]func(int) *rbacv1.ClusterRole{
		"grant-changes": func(i int) *rbacv1.ClusterRole { return benchRole(i%2 == 1) },
		"grant-equal":   func(i int) *rbacv1.ClusterRole { return benchRole(true, strconv.Itoa(i)) },
	} {
		b.Run(name, func(b *testing.B) {
			index := newBenchIndex(b, 50_000)
			sink := index.clusterRoleSink()
			r := startReader(index)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				sink.Upsert(role(i))
				i++
			}
			r.report(b)
		})
	}
}

// BenchmarkRoleBindingEvent creates and deletes a RoleBinding among 100,000.
func BenchmarkRoleBindingEvent(b *testing.B) {
	index := newBenchIndex(b, 100_000)
	sink := index.roleBindingSink()
	bindings := benchBindings(1000)
	for _, binding := range bindings {
		binding.Name = "another"
		binding.Subjects = []rbacv1.Subject{userSubject("somebody"), groupSubject("else")}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if binding := bindings[i/2%len(bindings)]; i%2 == 0 {
			sink.Upsert(binding)
		} else {
			sink.Delete(binding)
		}
		i++
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkMemory fills an index with 100,000 RoleBindings and reports what it
// keeps of each after the objects are gone.
func BenchmarkMemory(b *testing.B) {
	const bindings = 100_000
	for name, fill := range map[string]func(*Index){
		"relist": func(index *Index) { index.roleBindingSink().Replace(benchBindings(bindings), "1") },
		"events": func(index *Index) {
			for _, binding := range benchBindings(bindings) {
				index.roleBindingSink().Upsert(binding)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before := liveHeap()
				index := NewIndex(questions...)
				apply(index, benchRole(true))
				fill(index)
				b.ReportMetric((float64(liveHeap())-float64(before))/bindings, "live-B/RoleBinding")
				runtime.KeepAlive(index)
			}
		})
	}
}

// BenchmarkUser asks for a user of 200 groups, of which all, ten or one hold
// grants, 1,000 names in all.
func BenchmarkUser(b *testing.B) {
	const groups, granted = 200, 1000
	for _, holding := range []int{1, 10, groups} {
		index := newBenchIndex(b, 50_000)
		for i := range granted {
			apply(index, roleBinding(benchNamespace(i*50), "group", "ClusterRole/admin", groupSubject(fmt.Sprintf("group-%03d", i%holding))))
		}
		subjects := []Subject{NewUser("nobody")}
		for i := range groups {
			subjects = append(subjects, NewGroup(fmt.Sprintf("group-%03d", i)))
		}
		s := index.Snapshot(getNamespaces)
		b.Run(fmt.Sprintf("Names/%dof%d", holding, groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				count := 0
				for range s.Names(subjects, "") {
					count++
				}
				if count != granted {
					b.Fatal(count)
				}
			}
		})
		b.Run(fmt.Sprintf("Allowed/%dof%d", holding, groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !s.Allowed(subjects, benchNamespace(50*(granted-1))) || s.Allowed(subjects, "elsewhere") {
					b.Fatal("wrong")
				}
			}
		})
	}
}

// BenchmarkManyQuestions applies events that concern one of 32 questions.
func BenchmarkManyQuestions(b *testing.B) {
	all := []Question{getNodes}
	for i := range 31 {
		all = append(all, Question{Verb: "get", Resource: schema.GroupResource{Group: "group", Resource: fmt.Sprintf("resource-%d", i)}})
	}
	binding := clusterRoleBinding("b", "ClusterRole/nodes", userSubject("alice"))
	for name, event := range map[string]func(*Index, int){
		"binding": func(index *Index, i int) {
			if i%2 == 0 {
				apply(index, binding)
			} else {
				remove(index, binding)
			}
		},
		"role": func(index *Index, i int) {
			apply(index, clusterRole("nodes", getRule("nodes", fmt.Sprintf("n%d", i%2))))
		},
		"wide-role": func(index *Index, i int) {
			role := benchRole(false)
			role.Rules = append(role.Rules, rbacv1.PolicyRule{
				Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ResourceNames: []string{fmt.Sprintf("n%d", i%2)},
			})
			apply(index, role)
		},
	} {
		b.Run(name, func(b *testing.B) {
			index := NewIndex(all...)
			apply(index, clusterRole("nodes", getRule("nodes", "n0")), clusterRoleBinding("other", "ClusterRole/nodes", userSubject("bob")))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				event(index, i)
				i++
			}
		})
	}
}
