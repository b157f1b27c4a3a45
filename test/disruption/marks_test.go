// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// marksEach is how many objects of a resource are marked for a user at a time.
const marksEach = 3

func markOf(user identity) string { return user.name + "-mark" }

// mark writes into objects that a user may not get what nobody may ever send to
// the user, and takes it away again before anything else is edited. There may be
// none.
func (w *world) mark(t *testing.T) {
	t.Helper()
	for _, of := range resources {
		w.markSome(t, of)
	}
}

func (w *world) markSome(t *testing.T, of *resource) {
	t.Helper()
	users := []identity{w.ann, w.ben}
	allowed, err := w.allowed(t.Context(), of, users)
	require.NoError(t, err)
	list, err := w.stored.Resource(of.native).List(t.Context(), metav1.ListOptions{LabelSelector: worldLabel + "=" + w.name})
	require.NoError(t, err)
	for _, user := range users {
		marked := 0
		for i := range list.Items {
			o := &list.Items[i]
			if allowed[user.name][o.GetName()] != nil || o.GetDeletionTimestamp() != nil || marked == marksEach {
				continue
			}
			marked++
			for _, mark := range []string{fmt.Sprintf("%q", markOf(user)), "null"} {
				patch := fmt.Sprintf(`{"metadata":{"annotations":{"mark":%s}}}`, mark)
				require.NoError(t, w.do(t.Context(), fmt.Sprintf("mark %s %s %s", of, o.GetName(), patch), func(ctx context.Context) error {
					o, err = w.stored.Resource(of.native).Patch(ctx, o.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
					return err
				}))
			}
			// A grant that the server hears of before it hears of the last edit would
			// rightly show what it knows.
			require.Eventually(t, func() bool {
				seen, err := w.views.Resource(of.view).Get(t.Context(), o.GetName(), metav1.GetOptions{})
				return err == nil && seen.ResourceVersion == o.GetResourceVersion()
			}, settleWithin, editPeriod, "the mark of %s %s stays", of, o.GetName())
		}
		w.marked += marked
	}
}
