// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// compiledObject is all of an object of RBAC but what the API server gives to each
// anew.
type compiledObject struct {
	Labels, Annotations map[string]string
	Owners              []metav1.OwnerReference
	Finalizers          []string
	Rules               []rbacv1.PolicyRule
	Subjects            []rbacv1.Subject
	RoleRef             rbacv1.RoleRef
}

// compiledIn returns what the controller has written into RBAC, by name: all that it
// has ever applied, whatever the labels are.
func compiledIn(s state) map[string]compiledObject {
	found := map[string]compiledObject{}
	for i, object := range s {
		if slices.Contains(rbac, i.kind) && isOwn(i, object) {
			subjects, ref := binding(object)
			found[i.String()] = compiledObject{
				Labels: object.GetLabels(), Annotations: object.GetAnnotations(), Owners: object.GetOwnerReferences(),
				Finalizers: object.GetFinalizers(), Rules: rulesOf(object), Subjects: subjects, RoleRef: ref,
			}
		}
	}
	return found
}

// isOwn reports whether an object is what the controller has made of Tenants.
func isOwn(i id, object client.Object) bool {
	return isWritten(i.kind, nil, object) && slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == "tenancy-controller"
	})
}

// requireSameFromScratch holds that the objects are what the controller makes of the
// same Tenants when it finds nothing. The controller runs before and after.
func requireSameFromScratch(t *testing.T, s *system, r *recorder) {
	t.Helper()
	require.NoError(t, s.controller.Stop())
	before, _ := r.now()
	want := compiledIn(before)
	require.NotEmpty(t, want)
	for i, object := range before {
		if isOwn(i, object) {
			require.NoError(t, client.IgnoreNotFound(s.admin.Delete(t.Context(), object)))
		}
	}
	require.NoError(t, wait.PollUntilContextTimeout(t.Context(), settlePeriod, settleWithin, true, func(context.Context) (bool, error) {
		now, _ := r.now()
		for i, object := range now {
			if isOwn(i, object) {
				return false, nil
			}
		}
		return true, nil
	}))
	require.NoError(t, s.controller.Start(t.Context()))
	r.settle(t, "from scratch")
	after, _ := r.now()
	if diff := cmp.Diff(compiledIn(after), want); diff != "" {
		t.Errorf("the objects in the end differ from those made from scratch (-from scratch +in the end):\n%s", diff)
	}
	t.Logf("%d objects are as from scratch", len(want))
}
