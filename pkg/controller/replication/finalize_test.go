// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// TestDeletionWithoutAccount deletes subjects for which nobody names a service account
// any more.
func TestDeletionWithoutAccount(t *testing.T) {
	noDefaults := func(t *testing.T, c *cluster) {
		t.Helper()
		edit(t, c, &capsulev1beta2.CapsuleConfiguration{ObjectMeta: oil()[0].(*capsulev1beta2.CapsuleConfiguration).ObjectMeta}, //nolint:forcetypeassert // it is one
			func(configuration *capsulev1beta2.CapsuleConfiguration) { configuration.Spec.Impersonation = nil })
	}
	terminate := func(t *testing.T, c *cluster, name string) {
		t.Helper()
		edit(t, c, namespaceOf("oil", name), func(n *corev1.Namespace) { n.Finalizers = []string{"x/y"} })
		if err := c.Delete(t.Context(), namespaceOf("oil", name)); err != nil {
			t.Fatal(err)
		}
	}
	forget := func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource, account *capsulev1beta2.ProcessedServiceAccount) {
		t.Helper()
		c.refresh(t, r)
		r.Status.ServiceAccount = account
		if err := c.Status().Update(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		before func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource)
		// wantEntries are left, nil if the subject is gone.
		wantEntries, wantWrites []string
		wantReady               string
	}{
		"the one that wrote last": {
			before:     func(*testing.T, *cluster, *capsulev1beta2.TenantResource) {},
			wantWrites: []string{"oil-a/sa: delete oil-a/x", "oil-a/sa: delete oil-b/x"},
		},
		"namespaces that are being deleted": {
			before: func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource) {
				t.Helper()
				forget(t, c, r, nil)
				terminate(t, c, "oil-a")
				terminate(t, c, "oil-b")
			},
		},
		"namespaces that are gone": {
			before: func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource) {
				t.Helper()
				forget(t, c, r, nil)
				for _, name := range []string{"oil-a", "oil-b"} {
					if err := c.Delete(t.Context(), namespaceOf("oil", name)); err != nil {
						t.Fatal(err)
					}
				}
			},
		},
		"nobody knows one": {
			before: func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource) {
				t.Helper()
				forget(t, c, r, nil)
				terminate(t, c, "oil-a")
			},
			wantEntries: []string{"oil-b/x True created 03:04:05"},
			wantReady: "False NoServiceAccount: 1 objects are left in namespaces that live on, and wait for a service account to remove them: " +
				"no service account to act as: set spec.serviceAccount.name, or have an administrator set spec.impersonation.tenantDefaultServiceAccount of the CapsuleConfiguration. " +
				"Or remove them yourself, and then the finalizer controller.projectcapsule.dev/finalize of this object",
		},
		"one of another namespace": {
			before: func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource) {
				t.Helper()
				forget(t, c, r, &capsulev1beta2.ProcessedServiceAccount{Namespace: "kube-system", Name: "sa"})
			},
			wantEntries: []string{"oil-a/x True created 03:04:05", "oil-b/x True created 03:04:05"},
			wantReady:   "False NoServiceAccount: 2 objects are left",
		},
		"what is no name of one": {
			before: func(t *testing.T, c *cluster, r *capsulev1beta2.TenantResource) {
				t.Helper()
				forget(t, c, r, &capsulev1beta2.ProcessedServiceAccount{Namespace: "oil-a", Name: "sa:x"})
			},
			wantEntries: []string{"oil-a/x True created 03:04:05", "oil-b/x True created 03:04:05"},
			wantReady:   "False NoServiceAccount: 2 objects are left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := localSubject("oil-a", rawItems(rawItem("x"))...)
			c := newCluster(t, append(oil(), r)...)
			c.reconcile(t, r)
			noDefaults(t, c)
			// It is looked at once more before it is deleted.
			c.reconcile(t, r)
			compare(t, "service account", &capsulev1beta2.ProcessedServiceAccount{Namespace: "oil-a", Name: "sa"}, r.Status.ServiceAccount)
			test.before(t, c, r)
			if err := c.Delete(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			c.takeWrites()
			c.reconcile(t, r)
			compare(t, "writes", test.wantWrites, c.takeWrites())
			if test.wantEntries == nil {
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(r), r); !apierrors.IsNotFound(err) {
					t.Errorf("want no subject, got %v", err)
				}
				return
			}
			compare(t, "entries", test.wantEntries, entries(r.Status.ReplicationStatus))
			if got := ready(r); !strings.HasPrefix(got, test.wantReady) {
				t.Errorf("ready: want %q, got %q", test.wantReady, got)
			}
		})
	}
}
