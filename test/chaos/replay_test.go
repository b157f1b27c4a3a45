// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// calm is a time in which nobody killed the controller, which had made everything
// right before.
type calm struct{ from, to time.Time }

// replay judges every write, in the order of their revisions.
type replay struct {
	lives []life
	calms []calm

	// byHand is what of the writes judges nobody.
	byHand byHand

	// history is of what decides who is given what, imposed of what Tenants impose.
	history, imposed history
	held             *held
	// born is the revision since which a namespace of that name is the same one.
	born       map[string]uint64
	violations []string
	// gains and losses are how many grants were judged; mixed how many were given only
	// by versions of objects that were never there together.
	gains, losses, mixed int
	// ordered is how many writes were judged that had to come after others.
	ordered int
}

func newReplay(lives []life, calms []calm, hand byHand) *replay {
	return &replay{lives: lives, calms: calms, byHand: hand, history: history{}, imposed: history{}, held: newHeld(), born: map[string]uint64{}}
}

// run returns what was wrong.
func (r *replay) run(events []event) []string {
	for _, e := range events {
		switch {
		case slices.Contains(rbac, e.kind):
			was := r.held.objects[e.id]
			gained, lost := r.held.apply(e)
			if !r.byHand.did(e, was) {
				r.judgeGiver(e, was)
				r.judgeForeign(e, was)
				r.judgeOrder(e, gained)
				r.judgeGains(e, gained)
				r.judgeLosses(e, lost)
			}
		case slices.Contains(imposed, e.kind):
			r.judgeForeign(e, r.imposed.latest(e.id))
			r.imposed.apply(e)
		default:
			if e.kind == volumes {
				r.judgeLabel(e)
			}
			if was := r.history.latest(e.id); e.kind == namespaces && e.object != nil && (was == nil || was.GetUID() != e.object.GetUID()) {
				r.born[e.key.Name] = e.revision
			}
			r.history.apply(e)
		}
	}
	return r.violations
}

func (r *replay) violate(e event, format string, args ...any) {
	deaths := 0
	for _, l := range r.lives {
		if !l.ended.IsZero() && l.ended.Before(e.received) {
			deaths++
		}
	}
	r.violations = append(r.violations, fmt.Sprintf("revision %d, %s, after %d kills, %s: %s",
		e.revision, e.received.Format("15:04:05.000"), deaths, e.id, fmt.Sprintf(format, args...)))
}

// judgeGiver holds that nothing is taken over: what was compiled for one life of a Tenant
// is never another's.
func (r *replay) judgeGiver(e event, was client.Object) {
	if was == nil || e.object == nil || was.GetUID() != e.object.GetUID() {
		return
	}
	if before, after := giverOf(was), giverOf(e.object); before != after {
		r.violate(e, "it was of %s, and is taken over for %s", before, after)
	}
}

// judgeGains holds that what a write adds is given by the object that it is compiled
// from, in some version of everything that the writer could take for the present one.
func (r *replay) judgeGains(e event, gained []grant) {
	r.gains += len(gained)
	gained = slices.Clone(gained)
	for len(gained) > 0 {
		by := gained[0].giver
		mine := slices.Clone(gained)
		mine = slices.DeleteFunc(mine, func(g grant) bool { return g.giver != by })
		gained = slices.DeleteFunc(gained, func(g grant) bool { return g.giver == by })
		after := since(r.lives, e.received)
		if rest := notIn(mine, r.history.inputsDuring(after, e.revision), by); len(rest) > 0 {
			r.violate(e, "nothing since %s gave\n%s", after.Format("15:04:05.000"), describe(rest))
		}
		r.mixed += r.countMixed(mine, by, after, e.revision)
	}
}

// notIn returns which of the grants their giver does not give.
func notIn(list []grant, in inputs, by giver) []grant {
	if by == (giver{}) {
		return list
	}
	found := grants{}
	for _, g := range list {
		found[g] = struct{}{}
	}
	for g := range given(in, by) {
		delete(found, g)
		if g.name == everyName {
			for part := range found {
				if part.everything() == g {
					delete(found, part)
				}
			}
		}
		if len(found) == 0 {
			return nil
		}
	}
	return found.minus(nil)
}

// countMixed returns how many of the grants were given by no state as a whole.
func (r *replay) countMixed(list []grant, by giver, after time.Time, before uint64) int {
	for _, at := range r.history.revisions(after, before) {
		if list = notIn(list, r.history.inputsAt(at), by); len(list) == 0 {
			break
		}
	}
	return len(list)
}

// judgeLosses holds that in calm times nothing is taken away that was given by all
// versions of everything since.
func (r *replay) judgeLosses(e event, lost []grant) {
	i := slices.IndexFunc(r.calms, func(c calm) bool { return e.received.After(c.from) && e.received.Before(c.to) })
	if i < 0 {
		return
	}
	r.losses += len(lost)
	lost = slices.DeleteFunc(lost, func(g grant) bool { return !r.always(g, r.calms[i].from, e.revision) })
	if len(lost) > 0 {
		r.violate(e, "all the time since %s was given\n%s", r.calms[i].from.Format("15:04:05.000"), describe(lost))
	}
}

// always reports whether some Tenant gave something to its owners, or in its
// namespaces, whichever versions of the Tenant and of the object are taken.
func (r *replay) always(g grant, after time.Time, before uint64) bool {
	var on []client.Object
	var of *kind
	switch {
	case g.name == everyName || g.resource == tenants.resource:
	case g.verb == bound:
		of, on = namespaces, r.lasting(id{namespaces, client.ObjectKey{Name: g.namespace}}, after, before)
	default:
		if of = kindNamed(g); of != nil {
			on = r.lasting(id{of, client.ObjectKey{Name: g.name}}, after, before)
		}
	}
	owners := r.lastingOwners(after, before)
	gives := func(k *kind, object client.Object, t client.Object) bool {
		in := maps.Clone(owners)
		in.add(tenants, t)
		if k != nil {
			in.add(k, object)
		}
		return givesTo(in, g)
	}
	for _, name := range tenantNames {
		lives := r.lasting(id{tenants, client.ObjectKey{Name: name}}, after, before)
		if len(lives) == 0 || of != nil && len(on) == 0 {
			continue
		}
		if all(lives, func(t client.Object) bool {
			if of == nil {
				return gives(nil, nil, t)
			}
			return all(on, func(object client.Object) bool { return gives(of, object, t) })
		}) {
			return true
		}
	}
	return false
}

func all(list []client.Object, holds func(client.Object) bool) bool {
	return !slices.ContainsFunc(list, func(object client.Object) bool { return !holds(object) })
}

func givesTo(in inputs, g grant) bool {
	for candidate := range given(in, giver{}) {
		if candidate = candidate.byWhomever(); candidate == g || candidate == g.everything() {
			return true
		}
	}
	return false
}

// kindNamed returns the kind whose names a grant is about: leases and metrics bear
// those of nodes.
func kindNamed(g grant) *kind {
	if g.resource == "leases" || g.group == "metrics.k8s.io" {
		return nodes
	}
	for _, k := range selected {
		if k.group == g.group && k.resource == g.resource {
			return k
		}
	}
	return nil
}

// lasting returns the versions of an object that was there all the time, the same one,
// and that nobody is deleting.
func (r *replay) lasting(i id, after time.Time, before uint64) []client.Object {
	versions := r.history.during(i, after, before)
	if slices.ContainsFunc(versions, func(object client.Object) bool {
		return object == nil || object.GetDeletionTimestamp() != nil || object.GetUID() != versions[0].GetUID()
	}) {
		return nil
	}
	return versions
}

// lastingOwners returns what made owners of somebody all the time, without a change.
func (r *replay) lastingOwners(after time.Time, before uint64) inputs {
	in := inputs{}
	for i := range r.history {
		if i.kind == tenantOwners || i.kind == configurations {
			if versions := r.lasting(i, after, before); len(versions) == 1 {
				in.add(i.kind, versions[0])
			}
		}
	}
	return in
}

// judgeLabel holds that a volume gets the label of the Tenant of its claim. The churn
// gives labels to new volumes only.
func (r *replay) judgeLabel(e event) {
	versions := r.history[e.id]
	if e.object == nil || len(versions) == 0 {
		return
	}
	was, ok := versions[len(versions)-1].object.(*corev1.PersistentVolume)
	label := e.object.GetLabels()[capsulev1beta2.TenantLabel]
	if !ok || was.UID != e.object.GetUID() || was.Labels[capsulev1beta2.TenantLabel] == label {
		return
	}
	after := since(r.lives, e.received)
	if !slices.Contains(claimant(was, r.history.inputsDuring(after, e.revision)), label) {
		r.violate(e, "labelled as %q: since %s its claim, %v, was in none of its namespaces", label, after.Format("15:04:05.000"), was.Spec.ClaimRef)
	}
}
