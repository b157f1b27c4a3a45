// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	// settleWithin is how long it may take until everything is as it should be, once
	// nobody edits.
	settleWithin = 60 * time.Second
	settlePeriod = 50 * time.Millisecond
	// still is for how long nothing is written before that counts: what is right may be
	// so in passing.
	still = 500 * time.Millisecond
	// quiet is for how long nothing may be written then.
	quiet = 3 * time.Second
)

// settle waits until RBAC gives exactly what is given, namespaces have exactly what
// their Tenants impose, and nothing is written any more.
func (r *recorder) settle(t *testing.T, when string) {
	t.Helper()
	start, since, seen := time.Now(), time.Now(), 0
	var problem string
	err := wait.PollUntilContextTimeout(t.Context(), settlePeriod, settleWithin, true, func(context.Context) (bool, error) {
		s, n := r.now()
		if n != seen {
			since, seen, problem = time.Now(), n, unsettled(s)
		}
		return problem == "" && time.Since(since) > still, nil
	})
	require.NoError(t, err, "%s: not settled after %s: %s", when, time.Since(start), problem)
	t.Logf("%s: settled after %s", when, time.Since(start).Round(time.Millisecond))
}

// awaitCleared waits until the namespaces that were deleted, or whose Tenant was, are
// gone.
func (r *recorder) awaitCleared(t *testing.T) {
	t.Helper()
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), settlePeriod, settleWithin, true, func(context.Context) (bool, error) {
		s, _ := r.now()
		in := inputsOf(s)
		return len(terminating(s)) == 0 && !slices.ContainsFunc(in[namespaces], func(namespace client.Object) bool {
			return len(namespace.GetOwnerReferences()) > 0 && !slices.ContainsFunc(in[tenants], func(t client.Object) bool {
				return namespace.GetOwnerReferences()[0].UID == t.GetUID()
			})
		}), nil
	}), "namespaces are not cleared")
}

// terminating returns the namespaces that are being deleted, which are nobody's
// business any more but the control plane's.
func terminating(s state) sets.Set[string] {
	names := sets.New[string]()
	for i, object := range s {
		if i.kind == namespaces && object.GetDeletionTimestamp() != nil {
			names.Insert(i.key.Name)
		}
	}
	return names
}

// unsettled says what is not as it should be.
func unsettled(s state) string {
	in := inputsOf(s)
	for _, object := range in[volumes] {
		volume := object.(*corev1.PersistentVolume)
		label := volume.Labels[capsulev1beta2.TenantLabel]
		if names := claimant(volume, in); volume.Status.Phase != corev1.VolumeReleased && len(names) > 0 && !slices.Contains(names, label) {
			return fmt.Sprintf("volume %s is labelled %q, its claim is in a namespace of %v", volume.Name, label, names)
		}
	}
	want, got, gone, waits := givenIn(s), heldIn(s), terminating(s), unlimited(s)
	missing, surplus := want.minus(got), got.minus(want)
	missing = slices.DeleteFunc(missing, func(g grant) bool { return gone.Has(g.namespace) || waits.Has(g.namespace) })
	surplus = slices.DeleteFunc(surplus, func(g grant) bool { return gone.Has(g.namespace) })
	if len(missing)+len(surplus) > 0 {
		return fmt.Sprintf("not held:\n%sheld, and not given:\n%s", describe(missing), describe(surplus))
	}
	return misplaced(s)
}

// requireQuiet holds that nothing of that is written any more, and soon nothing else is: states
// are reported after the fact.
func (r *recorder) requireQuiet(t *testing.T, when string) {
	t.Helper()
	written, seen, since := r.writes(), 0, time.Now()
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), settlePeriod, settleWithin, true, func(context.Context) (bool, error) {
		if _, n := r.now(); n != seen {
			seen, since = n, time.Now()
		}
		return time.Since(since) > quiet, nil
	}), "%s: something is written all the time", when)
	require.Equal(t, written, r.writes(), "%s: writes, though everything is as it should be", when)
}
