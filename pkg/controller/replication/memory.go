// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"crypto/sha256"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// revision is a state of an object in which it was right.
type revision struct {
	// hash is that of what was applied.
	hash            [sha256.Size]byte
	uid             types.UID
	resourceVersion string
}

// memory knows in which state objects were last found right. It saves requests: what
// it does not know is applied, and the API server writes nothing if that changes
// nothing. And it knows an object again from which somebody has removed all that was
// applied. All methods may be called concurrently.
type memory struct {
	// lock protects of.
	lock sync.Mutex
	of   map[types.NamespacedName]*remembered
}

type remembered struct {
	uid   types.UID
	items map[itemKey]revision
}

func newMemory() *memory { return &memory{of: map[types.NamespacedName]*remembered{}} }

// forget drops what is known of a subject, but for the one that lives.
func (m *memory) forget(subject types.NamespacedName, alive types.UID) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known := m.of[subject]; known != nil && known.uid == alive {
		return
	}
	delete(m.of, subject)
	if alive != "" {
		m.of[subject] = &remembered{uid: alive, items: map[itemKey]revision{}}
	}
}

func (m *memory) is(subject types.NamespacedName, key itemKey, r revision) bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	known, ok := m.of[subject]
	return ok && known.items[key] == r
}

// knows reports whether this very object was found right once.
func (m *memory) knows(subject types.NamespacedName, key itemKey, uid types.UID) bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	known, ok := m.of[subject]
	if !ok {
		return false
	}
	r, ok := known.items[key]
	return ok && r.uid == uid
}

func (m *memory) remember(subject types.NamespacedName, key itemKey, r revision) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		known.items[key] = r
	}
}

func (m *memory) drop(subject types.NamespacedName, key itemKey) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		delete(known.items, key)
	}
}
