// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/third_party/forked/golang/btree"
)

func treeOf(names ...string) *btree.BTree[string] {
	tree := btree.NewOrdered[string](degree)
	for _, name := range names {
		tree.ReplaceOrInsert(name)
	}
	return tree
}

func TestMerge(t *testing.T) {
	t.Parallel()
	same := treeOf("a", "b")
	tests := map[string]struct {
		given []*btree.BTree[string]
		from  string
		want  []string
	}{
		"no set":                 {},
		"an empty set":           {given: []*btree.BTree[string]{treeOf()}},
		"one":                    {given: []*btree.BTree[string]{treeOf("b", "a")}, want: []string{"a", "b"}},
		"one, from the middle":   {given: []*btree.BTree[string]{treeOf("a", "b", "c")}, from: "b", want: []string{"b", "c"}},
		"one, from between":      {given: []*btree.BTree[string]{treeOf("a", "b", "c")}, from: "b\x00", want: []string{"c"}},
		"interleaved":            {given: []*btree.BTree[string]{treeOf("a", "d"), treeOf("b", "c", "e")}, want: []string{"a", "b", "c", "d", "e"}},
		"one after the other":    {given: []*btree.BTree[string]{treeOf("c", "d"), treeOf("a", "b")}, want: []string{"a", "b", "c", "d"}},
		"duplicates":             {given: []*btree.BTree[string]{treeOf("a", "b", "c"), treeOf("b", "c"), treeOf("c")}, want: []string{"a", "b", "c"}},
		"the same set twice":     {given: []*btree.BTree[string]{same, same}, want: []string{"a", "b"}},
		"with empty ones":        {given: []*btree.BTree[string]{treeOf(), treeOf("a"), treeOf()}, want: []string{"a"}},
		"many, from the middle":  {given: []*btree.BTree[string]{treeOf("a", "d"), treeOf("b", "c", "e"), treeOf("a")}, from: "c", want: []string{"c", "d", "e"}},
		"many, from beyond":      {given: []*btree.BTree[string]{treeOf("a", "d"), treeOf("b")}, from: "e"},
		"last ones are the same": {given: []*btree.BTree[string]{treeOf("a", "z"), treeOf("z"), treeOf("y", "z")}, want: []string{"a", "y", "z"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sequence := merge(tt.given, tt.from)
			for range 2 { // a sequence can be read again
				if diff := cmp.Diff(tt.want, slices.Collect(sequence)); diff != "" {
					t.Errorf("names (-want +got):\n%s", diff)
				}
			}
			// And stopped anywhere; TestMain sees what is left running.
			for stop := range tt.want {
				var got []string
				for name := range sequence {
					if got = append(got, name); len(got) == stop+1 {
						break
					}
				}
				if diff := cmp.Diff(tt.want[:stop+1], got); diff != "" {
					t.Errorf("stopped after %d (-want +got):\n%s", stop+1, diff)
				}
			}
		})
	}
}

// Sets that are deeper than one node of the tree.
func TestMergeDeep(t *testing.T) {
	t.Parallel()
	var sets []*btree.BTree[string]
	var all []string
	for set := range 7 {
		var names []string
		for i := range 2000 {
			if i%7 == set || i%11 == set {
				names = append(names, fmt.Sprintf("n-%04d", i))
			}
		}
		sets, all = append(sets, treeOf(names...)), append(all, names...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, i := range []int{0, 1, 999, len(all) - 1} {
		if diff := cmp.Diff(all[i:], slices.Collect(merge(sets, all[i]))); diff != "" {
			t.Errorf("from %q (-want +got):\n%s", all[i], diff)
		}
	}
}

// A panic of the reader ends the cursors, too.
func TestMergePanic(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("the panic got lost")
		}
	}()
	for name := range merge([]*btree.BTree[string]{treeOf("a"), treeOf("b")}, "") {
		panic(name)
	}
}
