// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/controller-runtime/pkg/webhook/conversion"

	"tenancy.capsule.io/pkg/admission/cordoned"
	"tenancy.capsule.io/pkg/admission/internal/requester"
	"tenancy.capsule.io/pkg/admission/namespace"
	"tenancy.capsule.io/pkg/admission/resourcequotas"
	"tenancy.capsule.io/pkg/admission/serviceaccounts"
	"tenancy.capsule.io/pkg/admission/tenants"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

// The paths that the webhooks are served under.
const (
	MutateNamespacePath   = "/namespaces/mutating"
	ValidateNamespacePath = "/namespaces/validating"
	MutateTenantPath      = "/tenants/mutating"
	ValidateTenantPath    = "/tenants/validating"
	ValidateConfigPath    = "/config/validating"
	MutateAccountPath     = "/serviceaccounts/mutating"
	ValidateAccountPath   = "/serviceaccounts/validating"
	ValidateCordonedPath  = "/cordoned/validating"
	MutateQuotaPath       = "/resourcequotas/mutating"
	ConvertPath           = "/convert"
)

// reporter is the name under which events are recorded.
const reporter = "tenancy-webhook"

// Options say how the webhooks decide.
type Options struct {
	// Owners finds out who owns Tenants, from the manager's cache.
	Owners *owners.Resolver
	// Users are the user names of the controller itself, on every replica.
	Users []string
	// Ledgers keep account of the quotas that namespaces share.
	Ledgers *ledger.Store
	// Clock tells the time; nil is the real one.
	Clock clock.Clock
}

// Register has the manager serve the webhooks. Its scheme needs the kinds of
// capsule.clastix.io in all versions, and metadata of namespaces.
func Register(mgr ctrl.Manager, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	arrivals := namespace.NewArrivals(o.Clock)
	if err := mgr.Add(everywhere(func(ctx context.Context) error { return arrivals.Watch(ctx, mgr.GetCache()) })); err != nil {
		return fmt.Errorf("add the watch of namespaces: %w", err)
	}
	config := namespace.Config{
		Cached: mgr.GetClient(),
		Live:   mgr.GetAPIReader(),
		Places: namespace.NewPlaces(mgr.GetAPIReader(), mgr.GetClient().Status(), arrivals, o.Clock),
		Events: mgr.GetEventRecorder(reporter),
		Owners: o.Owners,
		Users:  o.Users,
	}
	server := mgr.GetWebhookServer()
	for path, handler := range map[string]admission.Handler{
		MutateNamespacePath:   namespace.NewMutating(config),
		ValidateNamespacePath: namespace.NewValidating(config),
		MutateTenantPath:      admission.HandlerFunc(tenants.Mutate),
		ValidateTenantPath:    admission.HandlerFunc(tenants.Validate),
		MutateAccountPath:     serviceaccounts.NewBinder(mgr.GetAPIReader()),
		ValidateAccountPath:   serviceaccounts.NewHandler(mgr.GetAPIReader(), o.Owners),
		MutateQuotaPath:       resourcequotas.NewHandler(mgr.GetClient(), mgr.GetAPIReader(), o.Ledgers, o.Clock),
		ValidateCordonedPath: cordoned.NewHandler(requester.Finder{
			Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Owners: o.Owners, Users: o.Users,
		}),
		ValidateConfigPath: admission.HandlerFunc(tenants.ValidateConfiguration),
	} {
		server.Register(path, &webhook.Admission{Handler: handler})
	}
	server.Register(ConvertPath, limited(conversion.NewWebhookHandler(mgr.GetScheme(), mgr.GetConverterRegistry())))
	return nil
}

// maxConversion is how long a request for conversion may be, in bytes: a list of
// some hundred Tenants of the size that the API server stores.
const maxConversion = 64 << 20

// limited ends requests that are too long. Other webhooks are limited by
// controller-runtime.
func limited(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxConversion)
		handler.ServeHTTP(w, r)
	})
}

// everywhere runs on each replica, not on the leader alone.
type everywhere func(context.Context) error

var (
	_ manager.Runnable               = everywhere(nil)
	_ manager.LeaderElectionRunnable = everywhere(nil)
)

func (f everywhere) Start(ctx context.Context) error { return f(ctx) }
func (everywhere) NeedLeaderElection() bool          { return false }
