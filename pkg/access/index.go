// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/third_party/forked/golang/btree"

	"tenancy.capsule.io/pkg/internal/metrics"
)

// Index holds RBAC inverted for a fixed list of questions. Its methods may be
// called concurrently; changes are applied one at a time.
type Index struct {
	questions []Question

	// lock protects what follows, but for the published answers: one writer at a
	// time. It is held while subscribers are called, which gives them the order.
	lock                          sync.Mutex
	roles, clusterRoles           map[objectKey]*role
	roleBindings, clusterBindings map[objectKey]*binding
	answers                       []*answer
}

// objectKey identifies an RBAC object; namespace is empty for cluster-scoped ones.
type objectKey struct {
	namespace, name string
}

// role is what the index keeps of a role: its grants, and who refers to it. A
// role that is referred to and does not exist is one without grants.
type role struct {
	key      objectKey
	siblings map[objectKey]*role // the map that holds it
	grants   []grant
	bindings map[*binding]struct{}
}

// binding is what the index keeps of a binding; it is replaced, not changed.
type binding struct {
	// namespace is empty for a ClusterRoleBinding.
	namespace string
	subjects  []Subject
	role      *role
}

// answer is the state of one question.
type answer struct {
	// published is what readers see.
	published atomic.Pointer[Snapshot]
	// current is the writer's own; its trees are cloned when they are published.
	current Snapshot
	// surplus counts, for a pair that more than one binding grants, the grants
	// beyond the first.
	surplus map[pair]int
	// freeNames is shared by the subjects' sets of names, of which there are as
	// many as there are tenants.
	freeNames   *btree.FreeList[string]
	subscribers []func(Change)
}

// Change is the difference that one RBAC event made for one question.
type Change struct {
	Before, After *Snapshot
	// Names are the names, sorted, whose subjects changed.
	Names []string
	// Subjects are the subjects that gained or lost a name, or the grant for every
	// name; each once.
	Subjects []Subject
}

// NewIndex returns an empty index of the questions. Only system:masters may do
// anything until it is fed, see Feeds.
func NewIndex(questions ...Question) *Index {
	index := &Index{
		questions:       slices.Clone(questions),
		roles:           map[objectKey]*role{},
		clusterRoles:    map[objectKey]*role{},
		roleBindings:    map[objectKey]*binding{},
		clusterBindings: map[objectKey]*binding{},
	}
	// The API server lets this group pass before it asks RBAC, see
	// authorizerfactory.NewPrivilegedGroups in k8s.io/apiserver.
	masters := []Subject{NewGroup(user.SystemPrivilegedGroup)}
	for range questions {
		a := &answer{surplus: map[pair]int{}, freeNames: btree.NewFreeList[string](btree.DefaultFreeListSize)}
		a.current.names, a.current.subjects = newTrees()
		a.current.every = &Set{sorted: masters}
		a.publish()
		index.answers = append(index.answers, a)
	}
	return index
}

// Snapshot returns the present answer to a question, without blocking. It panics
// if the index was not made for the question.
func (x *Index) Snapshot(question Question) *Snapshot {
	return x.answer(question).published.Load()
}

// Subscribe has f called with every change of the answer to question, one at a
// time and in order, after the change is visible in Snapshot. f must return
// quickly and not call the index. To miss nothing, subscribe before the index
// is fed. It panics if the index was not made for the question.
func (x *Index) Subscribe(question Question, f func(Change)) {
	a := x.answer(question)
	x.lock.Lock()
	defer x.lock.Unlock()
	a.subscribers = append(a.subscribers, f)
}

func (x *Index) answer(question Question) *answer {
	i := slices.Index(x.questions, question)
	if i < 0 {
		panic(fmt.Sprintf("access: the index was not made for %s of %s", question.Verb, question.Resource))
	}
	return x.answers[i]
}

// update applies the changes that f notes in the batch as one.
func (x *Index) update(f func(*batch)) {
	x.lock.Lock()
	defer x.lock.Unlock()
	start := time.Now()
	defer func() { metrics.AccessUpdateDuration.Observe(time.Since(start).Seconds()) }()
	b := newBatch(len(x.questions))
	f(b)
	for i, a := range x.answers {
		a.commit(b.deltas[i])
	}
}

// setRoleLocked notes what changes when the role at key has the given grants,
// for each binding that refers to it: nothing, if they are the grants it had.
func (x *Index) setRoleLocked(b *batch, roles map[objectKey]*role, key objectKey, grants []grant) {
	r := ensureRole(roles, key)
	if !slices.EqualFunc(r.grants, grants, grant.equal) {
		for i, question := range x.questions {
			before, after := find(r.grants, i), find(grants, i)
			if before.equal(after) {
				continue
			}
			difference := newDifference(before, after)
			for binding := range r.bindings {
				b.change(i, question, binding, difference)
			}
		}
		r.grants = grants
	}
	r.dropIfUnused()
}

// setBindingLocked notes what changes when the binding at key is next, or is
// gone if next is nil.
func (x *Index) setBindingLocked(b *batch, bindings map[objectKey]*binding, key objectKey, next *rbacBinding) {
	if previous, known := bindings[key]; known {
		for _, g := range previous.role.grants {
			b.change(g.question, x.questions[g.question], previous, newDifference(g, grant{}))
		}
		delete(previous.role.bindings, previous)
		delete(bindings, key)
		defer previous.role.dropIfUnused()
	}
	if next == nil {
		return
	}
	roles := x.rolesOf(next.roleRef)
	if roles == nil {
		return
	}
	roleKey := objectKey{name: next.roleRef.Name}
	if next.roleRef.Kind == roleKind {
		roleKey.namespace = next.namespace
	}
	r := ensureRole(roles, roleKey)
	current := &binding{namespace: next.namespace, subjects: subjectsOf(next.namespace, next.subjects), role: r}
	r.bindings[current] = struct{}{}
	bindings[key] = current
	for _, g := range r.grants {
		b.change(g.question, x.questions[g.question], current, newDifference(grant{}, g))
	}
}

const (
	roleKind        = "Role"
	clusterRoleKind = "ClusterRole"
)

// rolesOf returns where the role that ref names is kept, nil for a kind that RBAC
// does not know.
func (x *Index) rolesOf(ref rbacv1.RoleRef) map[objectKey]*role {
	switch ref.Kind {
	case roleKind:
		return x.roles
	case clusterRoleKind:
		return x.clusterRoles
	default:
		return nil
	}
}

func ensureRole(roles map[objectKey]*role, key objectKey) *role {
	r, known := roles[key]
	if !known {
		r = &role{key: key, siblings: roles, bindings: map[*binding]struct{}{}}
		roles[key] = r
	}
	return r
}

// dropIfUnused forgets a role that grants nothing and that no binding refers to.
func (r *role) dropIfUnused() {
	if len(r.grants) == 0 && len(r.bindings) == 0 {
		delete(r.siblings, r.key)
	}
}
