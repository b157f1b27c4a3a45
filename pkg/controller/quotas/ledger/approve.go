// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Growth is by how much a namespace is about to use more of a resource.
type Growth struct {
	Resource corev1.ResourceName
	From, To resource.Quantity
}

// Growths returns what grows in the status of a ResourceQuota beyond what it says
// is granted, in order of the resources.
func Growths(was, is *corev1.ResourceQuota) []Growth {
	granted := GrantedBy(was)
	var growths []Growth
	for _, name := range sortedNames(is.Status.Used) {
		from, to := was.Status.Used[name], is.Status.Used[name]
		if to.Cmp(from) <= 0 {
			continue
		}
		if free, ok := granted[name]; ok && to.Cmp(free) <= 0 {
			continue
		}
		growths = append(growths, Growth{name, from, to})
	}
	return growths
}

// Refusal says why a namespace may not use more of a resource.
type Refusal struct {
	Growth

	// Limit is that of the tenant, and Used what its namespaces use together.
	Limit, Used resource.Quantity
	// Held is true if there is enough but for what is granted and not used.
	Held bool
}

// Approve grants the namespace of a ResourceQuota all that is asked, and returns the
// token that is to be written with it, or nothing and says why. In either case the
// ledger may have changed, and counts only when it is stored. No token and no refusal
// is what need not be asked, or will not be written. What the other namespaces use may
// be out of date: as far as it was asked about it is granted to them.
func (l *Ledger) Approve(
	limits corev1.ResourceList, used Used, quota *corev1.ResourceQuota, growths []Growth, now time.Time,
) (token string, refusals []Refusal) {
	namespace := quota.Namespace
	account := l.account(namespace)
	if order(quota.ResourceVersion, account.Revision) < 0 {
		// The API server has not noticed yet that there is a later one.
		return "", nil
	}
	l.Resolve(quota)
	raised, before := Grants{}, Grants{}
	for _, growth := range growths {
		limit, ok := limits[growth.Resource]
		if !ok {
			continue
		}
		grant := l.Of(namespace, growth.Resource)
		need := grant.need(growth)
		if !l.Fits(growth.Resource, limit, used, namespace, need) {
			refusals = append(refusals, l.refuse(growth, limit, used, namespace, now))
			continue
		}
		raised[growth.Resource], before[growth.Resource] = grant.Raise(need, now), grant
	}
	if len(refusals) > 0 || len(raised) == 0 {
		return "", refusals
	}
	for name, grant := range raised {
		l.Set(namespace, name, grant)
		token = grant.Token()
	}
	// One that was approved of for the same revision may still be written instead:
	// what it was granted is in the grants before.
	account.Revision, account.Pending = quota.ResourceVersion, &Pending{UID: quota.UID, Token: token, Before: before}
	return token, nil
}

func (l *Ledger) refuse(growth Growth, limit resource.Quantity, used Used, namespace string, now time.Time) Refusal {
	refusal := Refusal{Growth: growth, Limit: limit, Used: growth.From.DeepCopy()}
	for other, list := range used {
		if other != namespace {
			refusal.Used.Add(list[growth.Resource])
		}
	}
	total := refusal.Used.DeepCopy()
	total.Add(growth.To)
	total.Sub(growth.From)
	refusal.Held = total.Cmp(limit) <= 0
	if refusal.Held {
		l.markShort(growth.Resource, now)
	}
	return refusal
}

// need returns how much has to be granted for a growth.
func (g Grant) need(growth Growth) resource.Quantity {
	if g.Raised == nil && !g.Ahead {
		return growth.To
	}
	// From may have been counted without what was let in last.
	need := larger(g.Granted, growth.From).DeepCopy()
	need.Add(growth.To)
	need.Sub(growth.From)
	return need
}

// markShort has the controller take back what namespaces have ahead, if they have.
func (l *Ledger) markShort(name corev1.ResourceName, now time.Time) {
	if age := now.Sub(l.Short[name].Time); age < remarked && age > -remarked {
		return
	}
	for _, account := range l.Accounts {
		if account.Grants[name].Ahead {
			l.Short[name] = metav1.NewMicroTime(now.UTC().Truncate(time.Microsecond))
			return
		}
	}
}

func sortedNames[V any](list map[corev1.ResourceName]V) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}
