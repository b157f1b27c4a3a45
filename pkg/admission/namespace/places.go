// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission/internal/turns"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// reservationTTL is how long a place is kept for a namespace that does not come.
	reservationTTL = 30 * time.Second
	// placesManager is the field manager of the reservations, which are nobody
	// else's: the controller leaves them out of the status that it applies.
	placesManager = "tenancy-webhook"

	maxBackoff = 200 * time.Millisecond
)

// Places gives namespaces the places in the quota of their Tenant. Several
// processes may do so at the same time.
//
// Between the moment a request passes here and the moment the namespace can be
// seen, its place is held by a reservation in the Tenant's status. A reservation is
// written only onto the very Tenant that was read before the namespaces were
// listed. So of two who count at the same time one writes, and the other counts
// again and finds the namespace or its reservation.
type Places struct {
	live     client.Reader
	status   client.SubResourceWriter
	arrivals *Arrivals
	clock    clock.Clock
	// mine spares the replica conflicts with itself.
	mine turns.Turns[tenant.Ref]
}

// NewPlaces returns the places of all Tenants. It reads with live, which must not
// be a cache, and writes to the status of Tenants.
func NewPlaces(live client.Reader, status client.SubResourceWriter, arrivals *Arrivals, clock clock.Clock) *Places {
	return &Places{live: live, status: status, arrivals: arrivals, clock: clock}
}

// Take gives the namespace, which will have that UID, a place, or says why it gets none. On a dry run it
// only says whether it would.
func (p *Places) Take(ctx context.Context, ref tenant.Ref, namespace string, uid types.UID, dryRun bool) (refusal string, err error) {
	done, err := p.mine.Take(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("wait for the quota of tenant %s: %w", ref.Name, err)
	}
	defer done()
	err = turns.Retry(ctx, p.clock, maxBackoff, func() error {
		refusal, err = p.try(ctx, ref, namespace, uid, dryRun)
		return err
	})
	return refusal, err
}

// try does what Take does, unless somebody else changes the Tenant meanwhile: then
// the error is a conflict.
func (p *Places) try(ctx context.Context, ref tenant.Ref, namespace string, uid types.UID, dryRun bool) (string, error) {
	t := &capsulev1beta2.Tenant{}
	if err := p.live.Get(ctx, client.ObjectKey{Name: ref.Name}, t); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get tenant %s: %w", ref.Name, err)
	}
	if tenant.RefOf(t) != ref || t.DeletionTimestamp != nil {
		return fmt.Sprintf("tenant %q is being deleted and takes no namespaces: choose another one for namespace %q", ref.Name, namespace), nil
	}
	if !hasQuota(t) {
		return "", nil
	}
	quota := int(*t.Spec.NamespaceOptions.Quota)

	// What arrives while the namespaces are listed is in neither: not yet in the list,
	// and no longer awaited.
	awaited := p.awaited(t.Status.NamespaceReservations)
	present, err := p.present(ctx, t)
	if err != nil {
		return "", err
	}
	now := p.clock.Now()
	pending := pending(awaited, present, now)
	others := sets.KeySet(present)
	for _, reservation := range pending {
		others.Insert(reservation.Name)
	}
	others.Delete(namespace)
	// One that is there already keeps its place: the API server says that it exists.
	// If it is about to go, the new one may come, and needs the place for itself.
	existing, exists := present[namespace]
	if exists && !existing.terminating {
		return "", nil
	}
	if !exists && others.Len() >= quota {
		return fmt.Sprintf("tenant %q has all of the %d namespaces that it may have: delete one before you create namespace %q, "+
			"or ask a cluster administrator to raise its spec.namespaceOptions.quota", t.Name, quota, namespace), nil
	}
	if dryRun {
		return "", nil
	}
	return "", p.reserve(ctx, t, append(without(pending, namespace), capsulev1beta2.NamespaceReservation{
		Name: namespace, UID: uid, Time: metav1.NewMicroTime(now),
	}))
}

// hasQuota reports whether the number of the Tenant's namespaces is limited.
func hasQuota(t *capsulev1beta2.Tenant) bool {
	return t.Spec.NamespaceOptions != nil && t.Spec.NamespaceOptions.Quota != nil
}

// life is one life of a namespace.
type life struct {
	uid         types.UID
	terminating bool
}

// present returns the namespaces of the Tenant, terminating ones included, by name.
func (p *Places) present(ctx context.Context, t *capsulev1beta2.Tenant) (map[string]life, error) {
	list := objects.MetadataList(objects.NamespaceKind)
	if err := p.live.List(ctx, list, client.MatchingLabels{capsulev1beta2.TenantLabel: t.Name}); err != nil {
		return nil, fmt.Errorf("list namespaces of tenant %s: %w", t.Name, err)
	}
	present := make(map[string]life, len(list.Items))
	for i := range list.Items {
		if namespace := &list.Items[i]; tenant.Owns(t, namespace) {
			present[namespace.Name] = life{namespace.UID, namespace.DeletionTimestamp != nil}
		}
	}
	return present, nil
}

// awaited returns the reservations without those of namespaces that have come to be:
// they are in every list that is made from now on, or gone again.
func (p *Places) awaited(reservations []capsulev1beta2.NamespaceReservation) []capsulev1beta2.NamespaceReservation {
	return slices.DeleteFunc(slices.Clone(reservations), func(r capsulev1beta2.NamespaceReservation) bool {
		return r.UID != "" && p.arrivals.saw(r.UID)
	})
}

// pending returns the reservations that still hold a place: those of namespaces
// that may yet come.
func pending(awaited []capsulev1beta2.NamespaceReservation, present map[string]life, now time.Time) []capsulev1beta2.NamespaceReservation {
	var pending []capsulev1beta2.NamespaceReservation
	for _, reservation := range awaited {
		// Another replica's clock may be ahead of ours.
		if age := now.Sub(reservation.Time.Time); age >= reservationTTL || age <= -reservationTTL {
			continue
		}
		// An earlier namespace of the name is not the one that is waited for.
		if reservation.UID != "" && present[reservation.Name].uid == reservation.UID {
			continue
		}
		pending = append(pending, reservation)
	}
	return pending
}

// without returns the reservations but those for namespaces of the name.
func without(reservations []capsulev1beta2.NamespaceReservation, name string) []capsulev1beta2.NamespaceReservation {
	others := make([]capsulev1beta2.NamespaceReservation, 0, len(reservations)+1)
	for _, reservation := range reservations {
		if reservation.Name != name {
			others = append(others, reservation)
		}
	}
	return others
}

// reserve writes the reservations, and nothing else, if the Tenant is as it was read.
func (p *Places) reserve(ctx context.Context, t *capsulev1beta2.Tenant, reservations []capsulev1beta2.NamespaceReservation) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": t.ResourceVersion},
		"status":   map[string]any{"namespaceReservations": reservations},
	})
	if err != nil {
		return fmt.Errorf("encode reservations: %w", err)
	}
	if err := p.status.Patch(ctx, t, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(placesManager)); err != nil {
		return fmt.Errorf("reserve a place in tenant %s: %w", t.Name, err)
	}
	return nil
}
