// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configuration sees to it that there is a CapsuleConfiguration, and says in
// its status what became of it.
package configuration

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller.
const Name = "configuration"

// batch is how long changes other than of the spec wait for more of their kind.
const batch = 250 * time.Millisecond

// Kind is the kind of configurations.
var Kind = capsulev1beta2.SchemeGroupVersion.WithKind("CapsuleConfiguration")

type reconciler struct {
	objects.Applier
	owners  *owners.Resolver
	reports *report.Store
	clock   clock.PassiveClock
}

// Reconcile makes the configuration if there is none, or writes its status.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	configuration := &capsulev1beta2.CapsuleConfiguration{}
	err := r.Get(ctx, request.NamespacedName, configuration)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, r.create(ctx, request.Name)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("get configuration: %w", err)
	}
	r.reports.Forget(configuration.Name, configuration.UID)
	var tenants capsulev1beta2.TenantList
	if err := r.List(ctx, &tenants, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list tenants: %w", err)
	}
	tenantOwners, err := r.owners.TenantOwners(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	wanted := status(configuration, tenantOwners, tenants.Items, r.reports.Of(refOf(configuration)), r.clock.Now())
	if isRight(&configuration.Status, wanted) {
		return reconcile.Result{}, nil
	}
	log.FromContext(ctx).V(2).Info("Write status", "tenants", len(wanted.Tenants))
	if err := r.ApplyStatus(ctx, Kind, configuration, wanted); err != nil {
		return reconcile.Result{}, fmt.Errorf("write status: %w", err)
	}
	return reconcile.Result{}, nil
}

// create makes the default configuration, unless somebody was faster.
func (r *reconciler) create(ctx context.Context, name string) error {
	log.FromContext(ctx).Info("Create the default configuration")
	err := r.Create(ctx, &capsulev1beta2.CapsuleConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       tenant.DefaultConfigurationSpec(),
	}, client.FieldOwner(objects.FieldManager))
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create configuration: %w", err)
	}
	return nil
}

func refOf(configuration *capsulev1beta2.CapsuleConfiguration) tenant.Ref {
	return tenant.Ref{Name: configuration.Name, UID: configuration.UID}
}

// status returns what the status of a configuration should be, as far as it is ours.
func status(
	configuration *capsulev1beta2.CapsuleConfiguration, owners []*capsulev1beta2.TenantOwner,
	tenants []capsulev1beta2.Tenant, reports []report.Report, now time.Time,
) *capsulev1beta2.CapsuleConfigurationStatus {
	wanted := &capsulev1beta2.CapsuleConfigurationStatus{
		Users:              tenant.Users(&configuration.Spec, owners...),
		ObservedGeneration: configuration.Generation,
	}
	for i := range tenants {
		wanted.Tenants = append(wanted.Tenants, tenants[i].Name)
	}
	slices.Sort(wanted.Tenants)
	ready := metav1.Condition{
		Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionTrue, Reason: capsulev1beta2.SucceededReason,
		Message: "in effect", ObservedGeneration: configuration.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if messages := problems(configuration, reports); len(messages) > 0 {
		ready.Status, ready.Reason = metav1.ConditionFalse, capsulev1beta2.FailedReason
		ready.Message = strings.Join(messages, "; ")
	}
	if was := meta.FindStatusCondition(configuration.Status.Conditions, ready.Type); was != nil && was.Status == ready.Status {
		ready.LastTransitionTime = was.LastTransitionTime
	}
	wanted.Conditions = []metav1.Condition{ready}
	return wanted
}

// problems says what of a configuration is not in effect.
func problems(configuration *capsulev1beta2.CapsuleConfiguration, reports []report.Report) []string {
	var messages []string
	if _, err := regexp.Compile(configuration.Spec.ProtectedNamespaceRegex); err != nil {
		messages = append(messages, fmt.Sprintf("spec.protectedNamespaceRegex: %v", err))
	}
	for _, report := range reports {
		messages = append(messages, report.Message)
	}
	return messages
}

// isRight reports whether there is nothing to write.
func isRight(is, wanted *capsulev1beta2.CapsuleConfigurationStatus) bool {
	present := *is
	present.Conditions = nil
	for _, condition := range wanted.Conditions {
		if c := meta.FindStatusCondition(is.Conditions, condition.Type); c != nil {
			present.Conditions = append(present.Conditions, *c)
		}
	}
	return equality.Semantic.DeepEqual(&present, wanted)
}

// Add registers the controller of the configuration with that name. What other
// controllers report about the configuration becomes its condition.
func Add(mgr ctrl.Manager, owners *owners.Resolver, reports *report.Store, name string) error {
	r := &reconciler{
		Applier: objects.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader()},
		owners:  owners,
		reports: reports,
		clock:   clock.RealClock{},
	}
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		Watches(&capsulev1beta2.CapsuleConfiguration{}, &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == name }))).
		Watches(&capsulev1beta2.Tenant{}, later(request)).
		WatchesRawSource(reports.Source(batch)).
		WatchesRawSource(atStart(request))
	return owners.WatchUsers(b, laterFor(request)).Complete(r)
}

// laterFor asks for the request whatever happens, once for several events.
func laterFor(request reconcile.Request) handler.EventHandler {
	funcs := later(request)
	funcs.UpdateFunc = func(_ context.Context, _ event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		q.AddAfter(request, batch)
	}
	return funcs
}

// later asks for the request when an object comes or goes, once for several.
func later(request reconcile.Request) handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.AddAfter(request, batch)
		},
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.AddAfter(request, batch)
		},
	}
}

// atStart asks for the request once: an object that is missing has no event.
func atStart(request reconcile.Request) source.Source {
	return source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.Add(request)
		return nil
	})
}
