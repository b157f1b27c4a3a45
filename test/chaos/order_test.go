// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// judgeOrder holds that what lets somebody use a namespace comes after everything by
// which its Tenant limits the namespace, in some version of the Tenant that the writer
// could take for the present one. What could be taken for present then counts as there:
// somebody else may have changed or deleted it since.
func (r *replay) judgeOrder(e event, gained []grant) {
	use := slices.IndexFunc(gained, func(g grant) bool { return g.verb == bound && g.name != readerRole })
	if e.kind != roleBindings || use < 0 {
		return
	}
	by := gained[use].giver
	after := since(r.lives, e.received)
	missing := ""
	for _, object := range r.history.during(id{tenants, client.ObjectKey{Name: by.name}}, after, e.revision) {
		t, ok := object.(*capsulev1beta2.Tenant)
		if !ok || t.UID != by.uid {
			continue
		}
		items, lacks := r.lacks(t, e.key.Namespace, after)
		if lacks == "" {
			r.ordered += min(items, 1)
			return
		}
		missing = lacks
	}
	if missing != "" {
		r.violate(e, "%s is in a namespace where since %s there was no %s", gained[use], after.Format("15:04:05.000"), missing)
	}
}

// lacks returns how much a Tenant imposes, and what of it a writer could not have found
// in a namespace.
func (r *replay) lacks(t *capsulev1beta2.Tenant, namespace string, after time.Time) (items int, what string) {
	for _, k := range imposed {
		for i, item := range itemsOf(t, k) {
			items++
			if !r.found(id{k, client.ObjectKey{Namespace: namespace, Name: itemName(t, i)}}, item, after) {
				return items, fmt.Sprintf("%s %s", k, itemName(t, i))
			}
		}
	}
	return items, ""
}

// found reports whether a writer could have found an object that says something, or one
// that was changed under his hands, or one that is not the controller's.
func (r *replay) found(i id, says any, after time.Time) bool {
	all := r.imposed[i]
	if len(all) == 0 {
		return false
	}
	versions := recent(all, after)
	for n, v := range versions {
		// Of an earlier namespace of that name nothing counts.
		if v.object == nil || v.from < r.born[i.key.Namespace] {
			continue
		}
		if n < len(versions)-1 || isForeign(v.object) || limitsTo(v.object, says) {
			return true
		}
	}
	return false
}

// limitsTo reports whether an object says something. How much of what is shared is left
// for a namespace changes with what the others use.
func limitsTo(object client.Object, says any) bool {
	quota, ok := object.(*corev1.ResourceQuota)
	if !ok {
		return equality.Semantic.DeepEqual(saying(object), says)
	}
	want := says.(corev1.ResourceQuotaSpec)
	return sets.KeySet(quota.Spec.Hard).Equal(sets.KeySet(want.Hard)) && slices.Equal(quota.Spec.Scopes, want.Scopes)
}
