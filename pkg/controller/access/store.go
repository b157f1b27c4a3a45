// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Label marks everything that this package writes; its value says what for.
const Label = "tenancy.capsule.io/access"

const (
	// compiled is for roles with names, and who is bound to them.
	compiled = "compiled"
	// namespaceReader is for the RoleBindings by which owners get their namespaces.
	namespaceReader = "namespace"
)

// owner is the object that units are compiled from.
type owner struct {
	gvk  schema.GroupVersionKind
	name string
	uid  types.UID
	// labels are put on the units, besides our own.
	labels map[string]string
}

// record is what the cluster holds at a place. The objects are the cache's own and
// must not be modified.
type record struct {
	role, binding client.Object
}

// store reads and writes roles and their bindings. Each call sees what earlier
// calls wrote; each write is refused if somebody else wrote in between.
type store struct {
	client client.Client
}

// read returns what was compiled for an owner of that kind and name, whichever
// life of it.
func (s store) read(ctx context.Context, o owner) (map[place]record, error) {
	records := map[place]record{}
	byOwner := client.MatchingFields{ownerIndex(o.gvk.Kind): o.name}
	var clusterRoles rbacv1.ClusterRoleList
	var clusterBindings rbacv1.ClusterRoleBindingList
	var roles rbacv1.RoleList
	var bindings rbacv1.RoleBindingList
	for _, list := range []client.ObjectList{&clusterRoles, &clusterBindings, &roles, &bindings} {
		if err := s.client.List(ctx, list, byOwner, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list compiled access of %s %s: %w", o.gvk.Kind, o.name, err)
		}
	}
	add := func(object client.Object, set func(*record)) {
		at := place{object.GetNamespace(), object.GetName()}
		r := records[at]
		set(&r)
		records[at] = r
	}
	for i := range clusterRoles.Items {
		add(&clusterRoles.Items[i], func(r *record) { r.role = &clusterRoles.Items[i] })
	}
	for i := range roles.Items {
		add(&roles.Items[i], func(r *record) { r.role = &roles.Items[i] })
	}
	for i := range clusterBindings.Items {
		add(&clusterBindings.Items[i], func(r *record) { r.binding = &clusterBindings.Items[i] })
	}
	for i := range bindings.Items {
		add(&bindings.Items[i], func(r *record) { r.binding = &bindings.Items[i] })
	}
	return records, nil
}

// state returns what is at a place, as far as it is of this life of the owner and
// as it should be bound: present is for plan, strange has to go before anything
// else is done there.
func (r record) state(at place, o owner) (present state, strange record) {
	if r.role != nil && controllerUID(r.role) != o.uid {
		strange.role, r.role = r.role, nil
	}
	if r.binding != nil && (controllerUID(r.binding) != o.uid || roleRefOf(r.binding) != at.roleRef()) {
		strange.binding, r.binding = r.binding, nil
	}
	if r.role != nil {
		rules := rulesOf(r.role)
		g := grantsOf(rules)
		present.role = &g
		present.roleDrifted = !equality.Semantic.DeepEqual(rules, g.rules()) || !o.marks(r.role)
	}
	if r.binding != nil {
		subjects := subjectsOf(r.binding)
		present.binding = sets.New(subjects...)
		present.bindingDrifted = len(subjects) != present.binding.Len() || !o.marks(r.binding)
	}
	return present, strange
}

// write makes one step. It updates records with what was written.
func (s store) write(ctx context.Context, o owner, records map[place]record, next step) error {
	r := records[next.at]
	var err error
	switch {
	case next.removeBinding:
		err = s.remove(ctx, r.binding)
		r.binding = nil
	case next.removeRole:
		err = s.remove(ctx, r.role)
		r.role = nil
	case next.subjects != nil:
		r.binding, err = s.applyBinding(ctx, o, next, r.binding)
	default:
		r.role, err = s.applyRole(ctx, o, next, r.role)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", next, err)
	}
	records[next.at] = r
	return nil
}

// clear deletes what is in the way at a place: what was compiled for an earlier
// life of the owner, and a binding to another role than that of its name. Who is
// bound goes first, so that no role gains while they are.
func (s store) clear(ctx context.Context, at place, strange record, records map[place]record) error {
	if strange.binding != nil {
		if err := s.write(ctx, owner{}, records, step{at: at, removeBinding: true}); err != nil {
			return err
		}
	}
	if strange.role != nil {
		return s.write(ctx, owner{}, records, step{at: at, removeRole: true})
	}
	return nil
}

// remove deletes this very object, unless it is gone or something else by now.
func (s store) remove(ctx context.Context, object client.Object) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	preconditions := client.Preconditions{UID: &uid}
	if version != "" {
		preconditions.ResourceVersion = &version
	}
	return client.IgnoreNotFound(s.client.Delete(ctx, object, preconditions))
}

// clusterRole and role always say what their rules are: where there are none, a list
// that is left out would leave those that somebody else has applied, too.
type (
	clusterRole struct {
		*rbacv1ac.ClusterRoleApplyConfiguration
		Rules []rbacv1.PolicyRule `json:"rules"`
	}
	role struct {
		*rbacv1ac.RoleApplyConfiguration
		Rules []rbacv1.PolicyRule `json:"rules"`
	}
)

// applyRole returns the role as it is then.
func (s store) applyRole(ctx context.Context, o owner, next step, present client.Object) (client.Object, error) {
	if next.at.namespace == "" {
		ac := &clusterRole{rbacv1ac.ClusterRole(next.at.name).WithLabels(o.marked()).WithOwnerReferences(o.reference()), next.grants.rules()}
		if present != nil {
			ac.WithResourceVersion(present.GetResourceVersion())
		}
		err := s.apply(ctx, ac, present)
		return applied(err, ac.ObjectMetaApplyConfiguration, &rbacv1.ClusterRole{})
	}
	ac := &role{rbacv1ac.Role(next.at.name, next.at.namespace).WithLabels(o.marked()).WithOwnerReferences(o.reference()), next.grants.rules()}
	if present != nil {
		ac.WithResourceVersion(present.GetResourceVersion())
	}
	err := s.apply(ctx, ac, present)
	return applied(err, ac.ObjectMetaApplyConfiguration, &rbacv1.Role{})
}

// applyBinding returns the binding as it is then. It has at least one subject.
func (s store) applyBinding(ctx context.Context, o owner, next step, present client.Object) (client.Object, error) {
	subjects := make([]*rbacv1ac.SubjectApplyConfiguration, 0, next.subjects.Len())
	for _, subject := range slices.SortedFunc(maps.Keys(next.subjects), tenant.CompareSubjects) {
		subjects = append(subjects, subjectApplyConfiguration(subject))
	}
	ref := next.at.roleRef()
	roleRef := rbacv1ac.RoleRef().WithAPIGroup(ref.APIGroup).WithKind(ref.Kind).WithName(ref.Name)
	if next.at.namespace == "" {
		ac := rbacv1ac.ClusterRoleBinding(next.at.name).WithLabels(o.marked()).WithOwnerReferences(o.reference()).
			WithRoleRef(roleRef).WithSubjects(subjects...)
		if present != nil {
			ac.WithResourceVersion(present.GetResourceVersion())
		}
		err := s.apply(ctx, ac, present)
		return applied(err, ac.ObjectMetaApplyConfiguration, &rbacv1.ClusterRoleBinding{})
	}
	ac := rbacv1ac.RoleBinding(next.at.name, next.at.namespace).WithLabels(o.marked()).WithOwnerReferences(o.reference()).
		WithRoleRef(roleRef).WithSubjects(subjects...)
	if present != nil {
		ac.WithResourceVersion(present.GetResourceVersion())
	}
	err := s.apply(ctx, ac, present)
	return applied(err, ac.ObjectMetaApplyConfiguration, &rbacv1.RoleBinding{})
}

// apply takes fields back from whoever changed an object of ours. What was not
// there is made without force: an object of that name that is somebody else's
// stays as it is.
func (s store) apply(ctx context.Context, configuration runtime.ApplyConfiguration, present client.Object) error {
	options := []client.ApplyOption{client.FieldOwner(objects.FieldManager)}
	if present != nil {
		options = append(options, client.ForceOwnership)
	}
	return asForeign(s.client.Apply(ctx, configuration, options...))
}

// errForeign says that an object is in the way that must not be touched.
var errForeign = errors.New("foreign object")

// asForeign returns errForeign for the error of a write without force that would
// have changed what is somebody else's.
func asForeign(err error) error {
	if apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("it exists and is not the controller's, delete it: %w", errForeign)
	}
	return err
}

// applied returns what later steps need to know of an object that was applied:
// which one it is, and its revision.
func applied[T client.Object](err error, answer *metav1ac.ObjectMetaApplyConfiguration, into T) (client.Object, error) {
	if err != nil {
		return nil, err
	}
	into.SetNamespace(ptr.Deref(answer.Namespace, ""))
	into.SetName(ptr.Deref(answer.Name, ""))
	into.SetUID(ptr.Deref(answer.UID, ""))
	into.SetResourceVersion(ptr.Deref(answer.ResourceVersion, ""))
	return into, nil
}

func subjectApplyConfiguration(subject rbacv1.Subject) *rbacv1ac.SubjectApplyConfiguration {
	ac := rbacv1ac.Subject().WithKind(subject.Kind).WithName(subject.Name)
	if subject.APIGroup != "" {
		ac.WithAPIGroup(subject.APIGroup)
	}
	if subject.Namespace != "" {
		ac.WithNamespace(subject.Namespace)
	}
	return ac
}

// marked returns the labels of what is compiled from o.
func (o owner) marked() map[string]string {
	labels := map[string]string{Label: compiled}
	maps.Copy(labels, o.labels)
	return labels
}

// marks reports whether an object, which is o's, has the labels that it should.
func (o owner) marks(object metav1.Object) bool {
	present := object.GetLabels()
	for key, value := range o.marked() {
		if present[key] != value {
			return false
		}
	}
	return true
}

func (o owner) reference() *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().WithAPIVersion(o.gvk.GroupVersion().String()).WithKind(o.gvk.Kind).
		WithName(o.name).WithUID(o.uid).WithController(true)
}

func controllerUID(object metav1.Object) types.UID {
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil {
		return controller.UID
	}
	return ""
}

// ownerIndex is the index of compiled objects by the name of their owner of a kind.
func ownerIndex(kind string) string { return "compiled-from-" + kind }

// ownerNames is the indexer of it. In other namespaces than those of companions,
// where tenants write what they like, nothing is compiled.
func ownerNames(kind string) client.IndexerFunc {
	return func(object client.Object) []string {
		controller := metav1.GetControllerOfNoCopy(object)
		if controller == nil || controller.Kind != kind || object.GetLabels()[Label] != compiled {
			return nil
		}
		if namespace := object.GetNamespace(); namespace != "" && namespace != corev1.NamespaceNodeLease {
			return nil
		}
		return []string{controller.Name}
	}
}

func (p place) roleRef() rbacv1.RoleRef {
	if p.namespace == "" {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: p.name}
	}
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: p.name}
}

func rulesOf(role client.Object) []rbacv1.PolicyRule {
	switch role := role.(type) {
	case *rbacv1.ClusterRole:
		return role.Rules
	case *rbacv1.Role:
		return role.Rules
	default:
		return nil
	}
}

func roleRefOf(binding client.Object) rbacv1.RoleRef {
	switch binding := binding.(type) {
	case *rbacv1.ClusterRoleBinding:
		return binding.RoleRef
	case *rbacv1.RoleBinding:
		return binding.RoleRef
	default:
		return rbacv1.RoleRef{}
	}
}

func subjectsOf(binding client.Object) []rbacv1.Subject {
	switch binding := binding.(type) {
	case *rbacv1.ClusterRoleBinding:
		return binding.Subjects
	case *rbacv1.RoleBinding:
		return binding.Subjects
	default:
		return nil
	}
}

// String says what a step does, for logs and errors.
func (s step) String() string {
	kind := map[bool][2]string{true: {"ClusterRole", "ClusterRoleBinding"}, false: {"Role", "RoleBinding"}}[s.at.namespace == ""]
	name := s.at.name
	if s.at.namespace != "" {
		name = s.at.namespace + "/" + name
	}
	switch {
	case s.removeBinding:
		return "deletion of " + kind[1] + " " + name
	case s.removeRole:
		return "deletion of " + kind[0] + " " + name
	case s.subjects != nil:
		return kind[1] + " " + name
	default:
		return kind[0] + " " + name
	}
}
