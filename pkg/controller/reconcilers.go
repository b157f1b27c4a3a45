// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/admission"
	"tenancy.capsule.io/pkg/controller/access"
	"tenancy.capsule.io/pkg/controller/configuration"
	"tenancy.capsule.io/pkg/controller/lifecycle"
	"tenancy.capsule.io/pkg/controller/namespaces"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/provisioner"
	"tenancy.capsule.io/pkg/controller/quotas"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
	"tenancy.capsule.io/pkg/controller/replication"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/controller/tenantowners"
	"tenancy.capsule.io/pkg/controller/tenants"
	"tenancy.capsule.io/pkg/controller/volumes"
	"tenancy.capsule.io/pkg/tenant"
)

// reconciler is one that Config.Controllers names.
type reconciler struct {
	name string
	add  func(mgr ctrl.Manager, c Config, o *owners.Resolver, r reports) error
}

// reports are by whom they are read: a Store feeds one controller.
type reports struct {
	// ofTenants the controller of Tenants writes into their status.
	ofTenants *report.Store
	// ofConfiguration goes into that of the CapsuleConfiguration.
	ofConfiguration *report.Store
}

func newReports() reports { return reports{ofTenants: report.New(), ofConfiguration: report.New()} }

// reconcilers are all that there are.
func reconcilers() []reconciler {
	return []reconciler{
		{Access, func(mgr ctrl.Manager, c Config, o *owners.Resolver, r reports) error {
			return access.Add(mgr, access.Options{
				Owners:          o,
				WriteOperations: c.CompileWriteOperations,
				Events:          !slices.Contains(c.Controllers, tenants.Name),
				Report:          func(ref tenant.Ref, err error) { r.ofTenants.Set(ref, access.Name, "", err) },
			})
		}},
		{configuration.Name, func(mgr ctrl.Manager, c Config, o *owners.Resolver, r reports) error {
			return configuration.Add(mgr, o, r.ofConfiguration, c.ConfigurationName)
		}},
		{lifecycle.Name, func(mgr ctrl.Manager, _ Config, _ *owners.Resolver, r reports) error {
			return lifecycle.Add(mgr, r.ofTenants)
		}},
		{namespaces.Name, func(mgr ctrl.Manager, _ Config, o *owners.Resolver, r reports) error {
			return namespaces.Add(mgr, o, r.ofTenants)
		}},
		{provisioner.Name, func(mgr ctrl.Manager, c Config, o *owners.Resolver, r reports) error {
			return provisioner.Add(mgr, o, r.ofConfiguration, c.ConfigurationName)
		}},
		{quotas.Name, func(mgr ctrl.Manager, c Config, _ *owners.Resolver, r reports) error {
			return quotas.Add(mgr, r.ofTenants, c.ledgers(mgr))
		}},
		{replication.Name, func(mgr ctrl.Manager, c Config, _ *owners.Resolver, _ reports) error {
			return replication.Add(mgr, c.ConfigurationName)
		}},
		{tenantowners.Name, func(mgr ctrl.Manager, _ Config, o *owners.Resolver, _ reports) error {
			return tenantowners.Add(mgr, o)
		}},
		{tenants.Name, func(mgr ctrl.Manager, _ Config, o *owners.Resolver, r reports) error {
			return tenants.Add(mgr, o, r.ofTenants)
		}},
		{volumes.Name, func(mgr ctrl.Manager, _ Config, _ *owners.Resolver, _ reports) error { return volumes.Add(mgr) }},
	}
}

// ledgers returns where the grants of shared quotas are kept, or nil if no webhook asks
// for them.
func (c Config) ledgers(mgr ctrl.Manager) *ledger.Store {
	if c.Webhooks == nil {
		return nil
	}
	return ledger.NewStore(mgr.GetClient(), mgr.GetAPIReader(), c.Namespace)
}

// addWebhooks has every replica judge namespaces, Tenants, promotions and the use of
// shared quotas, and convert Tenants.
func addWebhooks(ctx context.Context, mgr ctrl.Manager, c Config, o *owners.Resolver) error {
	// A replica that does not lead reconciles nothing: its cache would begin to read
	// these when the first request asks for them.
	for _, object := range append(o.Cached(), &capsulev1beta2.Tenant{}, &corev1.ResourceQuota{}) {
		if _, err := mgr.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("add cache: %w", err)
		}
	}
	user, err := whoAmI(ctx, mgr)
	if err != nil {
		return err
	}
	return admission.Register(mgr, admission.Options{Owners: o, Users: []string{user}, Ledgers: c.ledgers(mgr)})
}

// whoAmI returns the user name under which the API server knows the controller, on
// every replica: they have the same credential.
func whoAmI(ctx context.Context, mgr ctrl.Manager) (string, error) {
	reviews, err := authenticationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return "", fmt.Errorf("create client: %w", err)
	}
	review, err := reviews.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("find own user name: %w", err)
	}
	if name := review.Status.UserInfo.Username; name != "" {
		return name, nil
	}
	return "", errors.New("find own user name: the API server does not know it")
}
