// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// version is an object as it was for a time.
type version struct {
	// object is nil while there was none.
	object client.Object
	// from is the revision from which on it was so.
	from uint64
	// known is when everybody could know that it is not so any more; zero if it still
	// is.
	known time.Time
}

// history is what objects ever were, in order.
type history map[id][]version

func (h history) apply(e event) {
	versions := h[e.id]
	if len(versions) == 0 {
		versions = []version{{}}
	}
	versions[len(versions)-1].known = e.received
	h[e.id] = append(versions, version{object: e.object, from: e.revision})
}

// latest returns what an object is, or nil.
func (h history) latest(i id) client.Object {
	versions := h[i]
	if len(versions) == 0 {
		return nil
	}
	return versions[len(versions)-1].object
}

// during returns what an object was, for whoever may have missed what became known
// after some time, before a revision. Nil is for its absence.
func (h history) during(i id, since time.Time, before uint64) []client.Object {
	versions := h[i]
	if len(versions) == 0 {
		return []client.Object{nil}
	}
	var objects []client.Object
	for _, v := range recent(versions, since) {
		if v.from < before {
			objects = append(objects, v.object)
		}
	}
	return objects
}

// recent returns the versions that somebody could take for the present one who may have
// missed what became known after some time.
func recent(versions []version, since time.Time) []version {
	first := len(versions) - 1
	for first > 0 && versions[first-1].known.After(since) {
		first--
	}
	return versions[first:]
}

// inputs are versions of what decides who is given what: one of each object, as in a
// state, or all that somebody may have taken for the present one. Each of them may
// meet each version of another object: watches of different kinds do not wait for one
// another.
type inputs map[*kind][]client.Object

func (in inputs) add(k *kind, object client.Object) {
	if object != nil {
		in[k] = append(in[k], object)
	}
}

// inputsOf returns one version of everything.
func inputsOf(s state) inputs {
	in := inputs{}
	for i, object := range s {
		in.add(i.kind, object)
	}
	return in
}

// inputsDuring returns what everything was, the latest versions first: they decide most.
func (h history) inputsDuring(since time.Time, before uint64) inputs {
	in := inputs{}
	for i := range h {
		for _, object := range slices.Backward(h.during(i, since, before)) {
			in.add(i.kind, object)
		}
	}
	return in
}

// revisions returns those of the states, the last one first, that somebody could take
// for the present one who may have missed what became known after some time, before a
// revision.
func (h history) revisions(since time.Time, before uint64) iter.Seq2[int, uint64] {
	found := sets.New(before - 1)
	for _, versions := range h {
		for i, v := range recent(versions, since) {
			if i > 0 && v.from < before {
				found.Insert(v.from-1, v.from)
			}
		}
	}
	return slices.Backward(sets.List(found))
}

// inputsAt returns what everything was at a revision.
func (h history) inputsAt(revision uint64) inputs {
	in := inputs{}
	for i, versions := range h {
		for _, v := range slices.Backward(versions) {
			if v.from <= revision {
				in.add(i.kind, v.object)
				break
			}
		}
	}
	return in
}
