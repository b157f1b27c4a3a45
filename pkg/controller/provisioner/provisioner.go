// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package provisioner lets the capsule users create namespaces, the administrators, and
// the service accounts that are owners by their label; and makes the ClusterRole with
// which owners delete theirs.
//
// Invariants:
//   - Roles are written before bindings, and deleted after them.
//   - Who is not configured any more is not bound any more, even if something else
//     failed: the rules for namespaces apply to those who are configured only.
package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/report"
	"tenancy.capsule.io/pkg/tenant"
)

// Name is the name of the controller, and of what it reports.
const Name = "provisioner"

var (
	roleKind    = rbacv1.SchemeGroupVersion.WithKind("ClusterRole")
	bindingKind = rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding")
	// ours marks what this controller makes.
	ours = map[string]string{capsulev1beta2.CreatedByLabel: capsulev1beta2.CreatedByRBACController}
)

type reconciler struct {
	objects.Applier
	owners  *owners.Resolver
	reports *report.Store
}

// Reconcile makes the roles and the binding of a configuration what they should be.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	configuration := &capsulev1beta2.CapsuleConfiguration{}
	if err := r.Get(ctx, request.NamespacedName, configuration, client.UnsafeDisableDeepCopy); err != nil {
		// Everything stays until there is one again.
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	more, err := r.others(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	wanted, invalid := Compute(&configuration.Spec, more)
	errs := make([]error, 0, len(wanted.Roles)+2)
	allows := true
	for i := range wanted.Roles {
		err := r.writeRole(ctx, &wanted.Roles[i])
		errs = append(errs, err)
		if wanted.Roles[i].Name == wanted.Binding.RoleRef.Name {
			allows = err == nil
		}
	}
	// A role that is not ours may allow anything: nobody is bound to it.
	if allows {
		errs = append(errs, r.writeBinding(ctx, &wanted.Binding))
	}
	errs = append(errs, r.prune(ctx, wanted))
	err = errors.Join(errs...)
	r.reports.Set(tenant.Ref{Name: configuration.Name, UID: configuration.UID}, Name, "", errors.Join(invalid.ToAggregate(), err))
	return reconcile.Result{}, err
}

// Others are those who create namespaces besides whom a configuration names.
type Others struct {
	TenantOwners []*capsulev1beta2.TenantOwner
	Promoted     []capsulev1beta2.UserSpec
}

func (r *reconciler) others(ctx context.Context) (Others, error) {
	var o Others
	var err error
	if o.TenantOwners, err = r.owners.TenantOwners(ctx); err != nil {
		return o, err
	}
	o.Promoted, err = r.owners.Promoted(ctx)
	return o, err
}

// Wanted is what a configuration asks for.
type Wanted struct {
	// Roles are one or two, in order of name.
	Roles []rbacv1.ClusterRole
	// Binding has the name of the role that it binds: one that is renamed has a new
	// binding, and the old one goes after it.
	Binding rbacv1.ClusterRoleBinding
}

// Compute returns what a configuration asks for, with others, and which of its
// subjects cannot be understood and are not bound.
func Compute(spec *capsulev1beta2.CapsuleConfigurationSpec, others Others) (Wanted, field.ErrorList) {
	var names capsulev1beta2.RBACConfiguration
	if spec.RBAC != nil {
		names = *spec.RBAC
	}
	provisioner := cmp.Or(names.Provisioner, capsulev1beta2.ProvisionerRole)
	deleter := cmp.Or(names.Deleter, capsulev1beta2.DeleterRole)
	wanted := Wanted{
		Roles: []rbacv1.ClusterRole{role(provisioner, "create", "patch")},
		Binding: rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: provisioner, Labels: ours},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: roleKind.Kind, Name: provisioner},
		},
	}
	if deleter == provisioner {
		wanted.Roles = []rbacv1.ClusterRole{role(provisioner, "create", "delete", "patch")}
	} else {
		wanted.Roles = append(wanted.Roles, role(deleter, "delete"))
		slices.SortFunc(wanted.Roles, func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	}
	var invalid field.ErrorList
	bind := func(path *field.Path, users []capsulev1beta2.UserSpec) {
		for _, user := range users {
			subject, err := tenant.Subject(user)
			if err != nil {
				invalid = append(invalid, field.Invalid(path, user.Name, err.Error()))
				continue
			}
			wanted.Binding.Subjects = append(wanted.Binding.Subjects, subject)
		}
	}
	bind(field.NewPath("spec", "users"), tenant.Users(spec, others.TenantOwners...))
	bind(field.NewPath("spec", "administrators"), spec.Administrators)
	bind(field.NewPath("spec", "allowServiceAccountPromotion"), others.Promoted)
	slices.SortFunc(wanted.Binding.Subjects, tenant.CompareSubjects)
	wanted.Binding.Subjects = slices.Compact(wanted.Binding.Subjects)
	return wanted, invalid
}

func role(name string, verbs ...string) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: ours},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: verbs}},
	}
}

// writeRole applies a role that is missing or not as it should be.
func (r *reconciler) writeRole(ctx context.Context, want *rbacv1.ClusterRole) error {
	is := &rbacv1.ClusterRole{}
	known, err := r.present(ctx, want.Name, is)
	if err != nil {
		return fmt.Errorf("get ClusterRole: %w", err)
	}
	if known && equality.Semantic.DeepEqual(is.Rules, want.Rules) {
		return nil
	}
	configuration := rbacv1ac.ClusterRole(want.Name).WithLabels(want.Labels)
	for _, rule := range want.Rules {
		configuration.WithRules(rbacv1ac.PolicyRule().WithAPIGroups(rule.APIGroups...).WithResources(rule.Resources...).WithVerbs(rule.Verbs...))
	}
	log.FromContext(ctx).Info("Write ClusterRole", "clusterRole", want.Name, "new", !known)
	return r.apply(ctx, configuration, roleKind, is, want.Name, known)
}

// writeBinding applies the binding if it is missing or not as it should be.
func (r *reconciler) writeBinding(ctx context.Context, want *rbacv1.ClusterRoleBinding) error {
	is := &rbacv1.ClusterRoleBinding{}
	known, err := r.present(ctx, want.Name, is)
	if err != nil {
		return fmt.Errorf("get ClusterRoleBinding: %w", err)
	}
	if known && is.RoleRef != want.RoleRef {
		// It cannot be changed.
		if err := r.DeleteExactly(ctx, is); err != nil {
			return fmt.Errorf("delete ClusterRoleBinding %s of another role: %w", is.Name, err)
		}
		known = false
	}
	if known && slices.Equal(is.Subjects, want.Subjects) {
		return nil
	}
	configuration := rbacv1ac.ClusterRoleBinding(want.Name).WithLabels(want.Labels).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(want.RoleRef.APIGroup).WithKind(want.RoleRef.Kind).WithName(want.RoleRef.Name))
	for _, subject := range want.Subjects {
		ac := rbacv1ac.Subject().WithKind(subject.Kind).WithName(subject.Name)
		if subject.APIGroup != "" {
			ac.WithAPIGroup(subject.APIGroup)
		}
		if subject.Namespace != "" {
			ac.WithNamespace(subject.Namespace)
		}
		configuration.WithSubjects(ac)
	}
	log.FromContext(ctx).Info("Write ClusterRoleBinding", "clusterRoleBinding", want.Name, "new", !known, "subjects", len(want.Subjects))
	return r.apply(ctx, configuration, bindingKind, is, want.Name, known)
}

// present reads an object from the cache, and reports whether it is there and ours.
func (r *reconciler) present(ctx context.Context, name string, into client.Object) (bool, error) {
	if err := r.Get(ctx, client.ObjectKey{Name: name}, into); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return isOurs(into), nil
}

func (r *reconciler) apply(ctx context.Context, configuration runtime.ApplyConfiguration, kind schema.GroupVersionKind, is client.Object, name string, known bool) error {
	var err error
	if known {
		err = r.ApplyKnown(ctx, configuration, kind, is)
	} else {
		err = r.ApplyUnknown(ctx, configuration, kind, client.ObjectKey{Name: name})
	}
	var foreign *objects.ForeignError
	switch {
	case errors.As(err, &foreign):
		return fmt.Errorf("%s %s exists and is not the controller's: choose another name in spec.rbac, or label it %s=%s to hand it over",
			kind.Kind, name, capsulev1beta2.CreatedByLabel, capsulev1beta2.CreatedByRBACController)
	case err != nil:
		return fmt.Errorf("write %s %s: %w", kind.Kind, name, err)
	default:
		return nil
	}
}

// prune deletes what went by another name.
func (r *reconciler) prune(ctx context.Context, wanted Wanted) error {
	var bindings rbacv1.ClusterRoleBindingList
	if err := r.List(ctx, &bindings, client.MatchingLabels(ours)); err != nil {
		return fmt.Errorf("list ClusterRoleBindings: %w", err)
	}
	for i := range bindings.Items {
		if is := &bindings.Items[i]; is.Name != wanted.Binding.Name {
			log.FromContext(ctx).Info("Delete ClusterRoleBinding", "clusterRoleBinding", is.Name)
			if err := r.DeleteExactly(ctx, is); err != nil {
				return fmt.Errorf("delete ClusterRoleBinding %s: %w", is.Name, err)
			}
		}
	}
	var roles rbacv1.ClusterRoleList
	if err := r.List(ctx, &roles, client.MatchingLabels(ours)); err != nil {
		return fmt.Errorf("list ClusterRoles: %w", err)
	}
	for i := range roles.Items {
		is := &roles.Items[i]
		if slices.ContainsFunc(wanted.Roles, func(want rbacv1.ClusterRole) bool { return want.Name == is.Name }) {
			continue
		}
		log.FromContext(ctx).Info("Delete ClusterRole", "clusterRole", is.Name)
		if err := r.DeleteExactly(ctx, is); err != nil {
			return fmt.Errorf("delete ClusterRole %s: %w", is.Name, err)
		}
	}
	return nil
}

func isOurs(object client.Object) bool {
	return object.GetLabels()[capsulev1beta2.CreatedByLabel] == capsulev1beta2.CreatedByRBACController
}

// Add registers the controller, for the configuration with that name. It reports
// about the configuration.
func Add(mgr ctrl.Manager, resolver *owners.Resolver, reports *report.Store, name string) error {
	r := &reconciler{objects.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}, resolver, reports}
	toConfiguration := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: name}}}
	})
	named := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == name })
	b := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		Watches(&capsulev1beta2.CapsuleConfiguration{}, &handler.EnqueueRequestForObject{},
			builder.WithPredicates(named, predicate.GenerationChangedPredicate{})).
		Watches(&rbacv1.ClusterRole{}, toConfiguration, builder.WithPredicates(r.concerning(name))).
		Watches(&rbacv1.ClusterRoleBinding{}, toConfiguration, builder.WithPredicates(r.concerning(name))).
		Watches(&capsulev1beta2.Tenant{}, toConfiguration, builder.WithPredicates(promotions))
	b = resolver.WatchUsers(b, toConfiguration)
	return resolver.Watch(b, func(_ context.Context, q owners.Queue, c owners.Change) {
		if slices.ContainsFunc(slices.Concat(c.Before, c.After), isServiceAccount) {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
		}
	}).Complete(r)
}

func isServiceAccount(owner capsulev1beta2.CoreOwnerSpec) bool {
	return owner.Kind == capsulev1beta2.ServiceAccountOwner
}

// promotions picks the events of a Tenant after which its service accounts may be
// owners by their label, or may not be any more.
var promotions = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok1 := e.ObjectOld.(*capsulev1beta2.Tenant)
		is, ok2 := e.ObjectNew.(*capsulev1beta2.Tenant)
		return !ok1 || !ok2 || was.UID != is.UID || tenant.AllowsPromotion(was, anyConfiguration) != tenant.AllowsPromotion(is, anyConfiguration)
	},
}

// anyConfiguration leaves it to Tenants whether they allow promotion.
var anyConfiguration = &capsulev1beta2.CapsuleConfigurationSpec{AllowServiceAccountPromotion: true}

// concerning picks the events of what is ours, was ours, or has a name that we need.
func (r *reconciler) concerning(configuration string) predicate.Predicate {
	concerns := func(object client.Object) bool {
		if isOurs(object) {
			return true
		}
		c := &capsulev1beta2.CapsuleConfiguration{}
		if err := r.Get(context.Background(), client.ObjectKey{Name: configuration}, c, client.UnsafeDisableDeepCopy); err != nil {
			return false
		}
		wanted, _ := Compute(&c.Spec, Others{})
		return slices.ContainsFunc(wanted.Roles, func(want rbacv1.ClusterRole) bool { return want.Name == object.GetName() })
	}
	p := predicate.NewPredicateFuncs(concerns)
	p.UpdateFunc = func(e event.UpdateEvent) bool { return concerns(e.ObjectOld) || concerns(e.ObjectNew) }
	return p
}
