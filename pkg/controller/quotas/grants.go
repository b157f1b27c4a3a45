// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

// note is what a ResourceQuota is to say about the grants of its namespace.
type note struct {
	// granted is how much may be used without being asked about.
	granted map[corev1.ResourceName]string
	// settling are the tokens of the grants to be settled.
	settling map[corev1.ResourceName]string
	// busy is true if objects were let in a moment ago: to write to the ResourceQuota
	// then makes requests fail that add to it, and has kube-controller-manager count
	// what it does not see yet.
	busy bool
}

// annotations returns the note as it is written.
func (n *note) annotations() map[string]string {
	said := map[string]string{}
	for name, list := range map[string]map[corev1.ResourceName]string{
		ledger.GrantedAnnotation: n.granted, ledger.SettlingAnnotation: n.settling,
	} {
		if len(list) > 0 {
			said[name] = ledger.FormatList(list)
		}
	}
	return said
}

// plan is the next step of the grants of a quota. The ledger is written first, if it
// changed, and then the notes: a grant is raised before a ResourceQuota says so. What
// is lowered in the ledger is what the ResourceQuotas did not say any more when they
// were read.
type plan struct {
	ledger *ledger.Ledger
	hard   corev1.ResourceList
	total  corev1.ResourceList
	used   ledger.Used
	now    time.Time

	// notes are those of the ResourceQuotas by namespace.
	notes map[string]*note
	// gone are the namespaces in the ledger of which no ResourceQuota is known, and
	// nothing has been let in lately.
	gone []string
	// wake is when there is something to do if nothing happens; zero if there is not.
	wake time.Time
}

// newPlan makes a plan from ResourceQuotas and a ledger that was read after them. The
// ledger is changed.
func newPlan(l *ledger.Ledger, hard, total corev1.ResourceList, quotas []*corev1.ResourceQuota, now time.Time) *plan {
	p := &plan{ledger: l, hard: hard, total: total, used: UsedBy(quotas), now: now, notes: map[string]*note{}}
	for _, quota := range quotas {
		l.Resolve(quota)
		l.Meet(quota, hard, now)
		p.notes[quota.Namespace] = &note{granted: map[corev1.ResourceName]string{}, settling: map[corev1.ResourceName]string{}}
	}
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		s := supplyOf(name, hard[name], total[name], len(quotas), l.IsShort(name, now))
		for _, quota := range quotas {
			p.next(quota, name, s)
		}
	}
	for _, quota := range quotas {
		p.forget(quota)
	}
	for _, namespace := range slices.Sorted(maps.Keys(l.Accounts)) {
		if p.notes[namespace] == nil && !p.isHeld(l.Grants(namespace)) {
			p.gone = append(p.gone, namespace)
		}
	}
	return p
}

// next takes the next step with one grant.
func (p *plan) next(quota *corev1.ResourceQuota, name corev1.ResourceName, s supply) {
	grant, used := p.ledger.Of(quota.Namespace, name), quota.Status.Used[name]
	said, saysSo := ledger.GrantedBy(quota)[name]
	n := p.notes[quota.Namespace]
	// What it says stays as it is until there is more, or nothing, to say.
	if grant.Ahead {
		if !saysSo {
			said = grant.Granted
		}
		n.granted[name] = said.String()
	}
	switch more := add(used, s.chunk); {
	case grant.Ahead && s.takesBack(grant.Granted, used):
		// First the ResourceQuota ceases to say so.
		delete(n.granted, name)
		if !saysSo {
			grant.Ahead = false
			p.ledger.Set(quota.Namespace, name, grant.Raise(grant.Granted, p.now))
			p.wakeAt(p.now.Add(ledger.Hold))
		}
	case saysSo && !grant.Ahead:
		// It says what nobody granted.
	case p.isHeld(ledger.Grants{name: grant}):
		n.busy = true
	case grant.Raised != nil || !grant.Ahead && grant.Granted.Cmp(used) > 0:
		if ledger.ParseList(quota.Annotations[ledger.SettlingAnnotation])[name] == grant.Token() && isCounted(quota, name) {
			p.ledger.Settle(quota, name)
		} else {
			n.settling[name] = grant.Token()
		}
	case s.handsOut(grant, used) && p.ledger.Fits(name, s.limit, p.used, quota.Namespace, more):
		p.ledger.Set(quota.Namespace, name, ledger.Grant{Granted: more, Ahead: true})
		n.granted[name] = more.String()
	}
}

// forget drops grants of what is not limited any more, once the ResourceQuota does
// not say so.
func (p *plan) forget(quota *corev1.ResourceQuota) {
	said := ledger.ParseList(quota.Annotations[ledger.GrantedAnnotation])
	for name := range maps.Clone(p.ledger.Grants(quota.Namespace)) {
		_, limited := p.hard[name]
		if _, saysSo := said[name]; !limited && !saysSo {
			p.ledger.Set(quota.Namespace, name, ledger.Grant{})
		}
	}
}

// isHeld reports whether one of the grants has to stay as it is, and wakes when it
// has not.
func (p *plan) isHeld(grants ledger.Grants) (isHeld bool) {
	for _, grant := range grants {
		if until, held := grant.Held(p.now); held {
			isHeld = true
			p.wakeAt(until)
		}
	}
	return isHeld
}

func (p *plan) wakeAt(at time.Time) {
	if p.wake.IsZero() || at.Before(p.wake) {
		p.wake = at
	}
}

// apply makes a ResourceQuota say what it is to say, and reports whether that cannot
// wait.
func (p *plan) apply(quota *corev1.ResourceQuota) (urgent bool) {
	n := p.notes[quota.Namespace]
	said := n.annotations()
	urgent = !n.busy
	for _, name := range []string{ledger.GrantedAnnotation, ledger.SettlingAnnotation} {
		urgent = urgent || quota.Annotations[name] != said[name]
	}
	settling := ledger.ParseList(quota.Annotations[ledger.SettlingAnnotation])
	share := Share(p.hard, p.total, quota.Status.Used)
	for name, token := range n.settling {
		if present, ok := quota.Spec.Hard[name]; ok && settling[name] == token {
			share[name] = present // to be counted yet
			continue
		}
		share[name] = otherThan(quota.Status.Hard[name], share[name])
	}
	quota.Spec.Hard = share
	setNotes(quota, annotations(usedPrefix, p.total), said)
	return urgent
}

// otherThan returns a limit somewhat above the one that is due, and other than the
// present one. It lets nobody use more than what the ledger allows.
func otherThan(present, due resource.Quantity) resource.Quantity {
	one := *resource.NewQuantity(1, due.Format)
	due = add(due, one)
	if due.Cmp(present) == 0 {
		due = add(due, one)
	}
	return due
}

// isCounted reports whether kube-controller-manager has counted what is used of a
// resource since its limit was changed last.
func isCounted(quota *corev1.ResourceQuota, name corev1.ResourceName) bool {
	wanted, ok1 := quota.Spec.Hard[name]
	counted, ok2 := quota.Status.Hard[name]
	return ok1 && ok2 && wanted.Cmp(counted) == 0
}

// supply is what there is of a resource for all namespaces of a tenant.
type supply struct {
	limit resource.Quantity
	// chunk is how much a namespace gets ahead of what it uses.
	chunk resource.Quantity
	// ample is true as long as more than half is left, scarce if less than a quarter
	// is, or if there was not enough for somebody. In between nothing is begun.
	ample, scarce bool
}

func supplyOf(name corev1.ResourceName, limit, total resource.Quantity, namespaces int, short bool) supply {
	left := limit.DeepCopy()
	left.Sub(total)
	twice := add(left, left)
	fourfold := add(twice, twice)
	s := supply{limit: limit, scarce: short || fourfold.Cmp(limit) < 0}
	s.ample = !s.scarce && twice.Cmp(limit) > 0
	if !s.scarce && namespaces > 0 {
		scale := resource.Scale(0)
		if name == corev1.ResourceCPU || strings.HasSuffix(string(name), "."+string(corev1.ResourceCPU)) {
			scale = resource.Milli
		}
		// All chunks together are an eighth of what is left, and a quarter of it when
		// they are taken back.
		s.chunk = *resource.NewScaledQuantity(left.ScaledValue(scale)/int64(8*namespaces), scale)
		s.chunk.Format = limit.Format
	}
	return s
}

// handsOut reports whether a namespace gets more ahead.
func (s supply) handsOut(grant ledger.Grant, used resource.Quantity) bool {
	if !s.ample || s.chunk.Sign() <= 0 {
		return false
	}
	free := grant.Granted.DeepCopy()
	free.Sub(used)
	twice := add(free, free)
	return !grant.Ahead || twice.Cmp(s.chunk) < 0
}

// takesBack reports whether a namespace has too much ahead, or nothing.
func (s supply) takesBack(granted, used resource.Quantity) bool {
	free := granted.DeepCopy()
	free.Sub(used)
	return s.scarce || free.Cmp(add(s.chunk, s.chunk)) > 0 || !s.ample && free.Sign() <= 0
}

func add(a, b resource.Quantity) resource.Quantity {
	sum := a.DeepCopy()
	sum.Add(b)
	return sum
}

// opened returns a new ledger: what is used, and what is said to be granted, is.
func opened(hard corev1.ResourceList, quotas []*corev1.ResourceQuota, now time.Time) *ledger.Ledger {
	l := ledger.New()
	for _, quota := range quotas {
		said := ledger.GrantedBy(quota)
		for name := range hard {
			granted := quota.Status.Used[name]
			ahead, ok := said[name]
			if ok && ahead.Cmp(granted) > 0 {
				granted = ahead
			}
			if ok || granted.Sign() > 0 {
				// What was granted by a ledger before it is not known.
				l.Set(quota.Namespace, name, ledger.Grant{Ahead: ok}.Raise(granted, now))
			}
		}
	}
	return l
}

// UsedBy returns what namespaces use.
func UsedBy(quotas []*corev1.ResourceQuota) ledger.Used {
	used := make(ledger.Used, len(quotas))
	for _, quota := range quotas {
		used[quota.Namespace] = quota.Status.Used
	}
	return used
}
