// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report carries what reconcilers could not do to the one that writes the
// status of the object that they did it for.
//
// Invariants:
//   - Only failures are kept. What is kept goes when its source reports success,
//     and when the object or the namespace that it is about is forgotten.
//   - Whoever reads is woken when, and only when, what Of returns has changed.
package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"tenancy.capsule.io/pkg/tenant"
)

// Report is one failure.
type Report struct {
	// Source is the reconciler that failed.
	Source string
	// Namespace is the one in which it failed, or empty.
	Namespace string
	// Message says what failed and what to do about it.
	Message string
}

// Store holds the present reports. All methods may be called concurrently, and none
// of them blocks.
type Store struct {
	// lock protects everything below. wake is called without it.
	lock sync.Mutex
	// of holds the messages by object, namespace and source. No map in it is empty.
	of map[tenant.Ref]map[string]map[string]string
	// in holds the objects that have reports in a namespace. No set in it is empty.
	in   map[string]sets.Set[tenant.Ref]
	wake func(name string)
}

// New returns an empty Store. Objects of different kinds need one each.
func New() *Store {
	return &Store{of: map[tenant.Ref]map[string]map[string]string{}, in: map[string]sets.Set[tenant.Ref]{}}
}

// Set replaces what a source reports about an object, in a namespace or, if that is
// empty, as a whole. No error takes an earlier report back.
func (s *Store) Set(ref tenant.Ref, source, namespace string, err error) {
	if s.set(ref, source, namespace, err) {
		s.changed(ref.Name)
	}
}

func (s *Store) set(ref tenant.Ref, source, namespace string, err error) (changed bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	present, failed := s.of[ref][namespace][source]
	if err == nil {
		if failed {
			s.remove(ref, source, namespace)
		}
		return failed
	}
	// Conditions and events are read in one line.
	message := strings.ReplaceAll(err.Error(), "\n", "; ")
	if failed && message == present {
		return false
	}
	s.add(ref, source, namespace, message)
	return true
}

// Of returns the reports about an object, ordered by source and namespace.
func (s *Store) Of(ref tenant.Ref) []Report {
	s.lock.Lock()
	defer s.lock.Unlock()
	reports := make([]Report, 0, len(s.of[ref]))
	for namespace, messages := range s.of[ref] {
		for source, message := range messages {
			reports = append(reports, Report{Source: source, Namespace: namespace, Message: message})
		}
	}
	slices.SortFunc(reports, func(a, b Report) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Namespace, b.Namespace))
	})
	return reports
}

// Namespaces returns the namespaces about which a source reports something.
func (s *Store) Namespaces(source string) []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	var namespaces []string
	for namespace, refs := range s.in {
		for ref := range refs {
			if _, ok := s.of[ref][namespace][source]; ok {
				namespaces = append(namespaces, namespace)
				break
			}
		}
	}
	slices.Sort(namespaces)
	return namespaces
}

// Forget drops all reports about objects of that name, but for the one that lives.
// It wakes nobody: the reader itself calls it.
func (s *Store) Forget(name string, alive types.UID) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for ref, namespaces := range s.of {
		if ref.Name != name || ref.UID == alive {
			continue
		}
		for namespace := range namespaces {
			s.removeNamespace(ref, namespace)
		}
	}
}

// ForgetNamespace drops the reports in a namespace about all objects but the one
// whose it is now, if any.
func (s *Store) ForgetNamespace(namespace string, except tenant.Ref) {
	for _, ref := range s.forgetNamespace(namespace, except) {
		s.changed(ref.Name)
	}
}

func (s *Store) forgetNamespace(namespace string, except tenant.Ref) (changed []tenant.Ref) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for ref := range s.in[namespace] {
		if ref == except {
			continue
		}
		s.removeNamespace(ref, namespace)
		changed = append(changed, ref)
	}
	return changed
}

// Source returns a source of requests with the names of the objects whose reports
// changed, each made after a delay, so that one answers several changes. A Store
// feeds one controller.
func (s *Store) Source(delay time.Duration) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.wake = func(name string) {
			queue.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, delay)
		}
		// What was reported before may be about objects that nothing else asks for.
		for ref := range s.of {
			s.wake(ref.Name)
		}
		return nil
	})
}

func (s *Store) changed(name string) {
	s.lock.Lock()
	wake := s.wake
	s.lock.Unlock()
	if wake != nil {
		wake(name)
	}
}

// add must be called with the lock held.
func (s *Store) add(ref tenant.Ref, source, namespace, message string) {
	if s.of[ref] == nil {
		s.of[ref] = map[string]map[string]string{}
	}
	if s.of[ref][namespace] == nil {
		s.of[ref][namespace] = map[string]string{}
	}
	s.of[ref][namespace][source] = message
	if namespace == "" {
		return
	}
	if s.in[namespace] == nil {
		s.in[namespace] = sets.New[tenant.Ref]()
	}
	s.in[namespace].Insert(ref)
}

// remove must be called with the lock held, for a report that is there.
func (s *Store) remove(ref tenant.Ref, source, namespace string) {
	delete(s.of[ref][namespace], source)
	if len(s.of[ref][namespace]) == 0 {
		s.removeNamespace(ref, namespace)
	}
}

// removeNamespace must be called with the lock held.
func (s *Store) removeNamespace(ref tenant.Ref, namespace string) {
	delete(s.of[ref], namespace)
	if len(s.of[ref]) == 0 {
		delete(s.of, ref)
	}
	s.in[namespace].Delete(ref)
	if s.in[namespace].Len() == 0 {
		delete(s.in, namespace)
	}
}
