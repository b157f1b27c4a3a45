// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"container/heap"
	"iter"

	"k8s.io/utils/third_party/forked/golang/btree"
)

// merge yields the union of ordered sets in order, each element once, from from on.
func merge(sets []*btree.BTree[string], from string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(sets) == 1 { // by far the most frequent: one of the user's subjects holds all its grants
			sets[0].AscendGreaterOrEqual(from, yield)
			return
		}
		heads := make(cursors, 0, len(sets))
		for _, set := range sets {
			next, stop := iter.Pull(func(yield func(string) bool) { set.AscendGreaterOrEqual(from, yield) })
			defer stop()
			if name, ok := next(); ok {
				heads = append(heads, cursor{name: name, next: next})
			}
		}
		heap.Init(&heads)
		for len(heads) > 0 {
			least := heads[0].name
			if !yield(least) {
				return
			}
			for len(heads) > 0 && heads[0].name == least {
				heads.advance()
			}
		}
	}
}

// advance moves the least cursor on, or drops it at the end of its set.
func (c *cursors) advance() {
	least := &(*c)[0]
	var ok bool
	if least.name, ok = least.next(); ok {
		heap.Fix(c, 0)
	} else {
		heap.Pop(c)
	}
}

// cursor is a place in an ordered set.
type cursor struct {
	name string
	next func() (string, bool)
}

// cursors is a heap of cursors, least name first.
type cursors []cursor

func (c cursors) Len() int           { return len(c) }
func (c cursors) Less(i, j int) bool { return c[i].name < c[j].name }
func (c cursors) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *cursors) Push(x any)        { *c = append(*c, x.(cursor)) }
func (c *cursors) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}
