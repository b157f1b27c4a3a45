// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"crypto/sha256"
	"sync"
	"time"

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
	uid types.UID
	// request is who asked last to have everything looked at.
	request string
	items   map[itemKey]seen
	// rest is until when the subject is left alone.
	rest time.Time
}

// seen is a revision and when it was last found.
type seen struct {
	revision
	at time.Time
}

func newMemory() *memory { return &memory{of: map[types.NamespacedName]*remembered{}} }

// forget drops what is known of a subject, but for the one that lives. If somebody has
// asked anew to have everything looked at, nothing of that was seen yet.
func (m *memory) forget(subject types.NamespacedName, alive types.UID, request string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	known := m.of[subject]
	switch {
	case alive == "":
		delete(m.of, subject)
	case known == nil || known.uid != alive:
		m.of[subject] = &remembered{uid: alive, request: request, items: map[itemKey]seen{}}
	case known.request != request:
		known.request = request
		for key, s := range known.items {
			known.items[key] = seen{revision: s.revision}
		}
	}
}

// setRest has a subject left alone until then.
func (m *memory) setRest(subject types.NamespacedName, until time.Time) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		known.rest = until
	}
}

// rest returns until when a subject is to be left alone.
func (m *memory) rest(subject types.NamespacedName) time.Time {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		return known.rest
	}
	return time.Time{}
}

// isRecent reports whether what was applied was found right after that time.
func (m *memory) isRecent(subject types.NamespacedName, key itemKey, hash [sha256.Size]byte, since time.Time) bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	known, ok := m.of[subject]
	if !ok {
		return false
	}
	s, ok := known.items[key]
	return ok && s.hash == hash && s.at.After(since)
}

// is reports whether an object is as it was last found right.
func (m *memory) is(subject types.NamespacedName, key itemKey, r revision) bool {
	m.lock.Lock()
	defer m.lock.Unlock()
	known, ok := m.of[subject]
	return ok && known.items[key].revision == r
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

func (m *memory) remember(subject types.NamespacedName, key itemKey, r revision, now time.Time) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		known.items[key] = seen{r, now}
	}
}

func (m *memory) drop(subject types.NamespacedName, key itemKey) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if known, ok := m.of[subject]; ok {
		delete(known.items, key)
	}
}
