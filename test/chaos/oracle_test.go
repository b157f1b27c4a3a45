// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"iter"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// This file says what Tenants, ProxySettings and GlobalProxySettings give, by brute
// force: from the design, in the simplest way, and slowly.

const (
	leaseNamespace = "kube-node-lease"
	readerRole     = "tenancy:namespace-reader"
)

var (
	verbsOf = map[capsulev1beta2.ProxyOperation][]string{
		capsulev1beta2.ListOperation:   {"get", "list", "watch"},
		capsulev1beta2.UpdateOperation: {"update", "patch"},
		capsulev1beta2.DeleteOperation: {"delete"},
	}
	kindOf = map[capsulev1beta2.ProxyServiceKind]*kind{
		capsulev1beta2.NodesProxy:             nodes,
		capsulev1beta2.PersistentVolumesProxy: volumes,
		capsulev1beta2.StorageClassesProxy:    storageClasses,
		capsulev1beta2.IngressClassesProxy:    ingressClasses,
		capsulev1beta2.PriorityClassesProxy:   priorityClasses,
		capsulev1beta2.RuntimeClassesProxy:    runtimeClasses,
		capsulev1beta2.TenantProxy:            tenants,
	}
)

// given returns everything that is given, by one giver or, without one, by all. Some of
// it comes more than once.
func given(in inputs, by giver) iter.Seq[grant] {
	return func(yield func(grant) bool) {
		o := oracle{in: in, yield: yield}
		for _, object := range in[tenants] {
			if by == (giver{}) || by == giverFrom(tenants, object) {
				o.tenant(object.(*capsulev1beta2.Tenant))
			}
		}
		for _, object := range in[globals] {
			if by == (giver{}) || by == giverFrom(globals, object) {
				o.global(object.(*capsulev1beta2.GlobalProxySettings))
			}
		}
	}
}

// givenIn returns what is given in a state.
func givenIn(s state) grants {
	all := grants{}
	for g := range given(inputsOf(s), giver{}) {
		all[g] = struct{}{}
	}
	return all
}

func giverFrom(k *kind, object client.Object) giver {
	name := map[*kind]string{tenants: "Tenant", globals: "GlobalProxySettings"}[k]
	return giver{name, object.GetName(), object.GetUID()}
}

// oracle says what is given. It is used once.
type oracle struct {
	in    inputs
	yield func(grant) bool
	done  bool
	// names are the objects of the present Tenant, of the kinds that were asked for.
	names map[*kind][]string
}

func (o *oracle) give(by giver, to rbacv1.Subject, namespace string, verbs []string, group, resource string, names ...string) {
	for _, name := range names {
		for _, verb := range verbs {
			if !o.done && !o.yield(grant{by, to, namespace, verb, group, resource, name}) {
				o.done = true
			}
		}
	}
}

func (o *oracle) tenant(t *capsulev1beta2.Tenant) {
	by := giverFrom(tenants, t)
	o.names = map[*kind][]string{}
	type operation struct {
		kind      *kind
		operation capsulev1beta2.ProxyOperation
	}
	owners := o.in.ownersOf(t)
	for _, owner := range owners {
		o.give(by, owner.subject, "", []string{"get"}, tenants.group, tenants.resource, t.Name)
	}
	ofOwners := map[operation]bool{}
	for i := range t.Spec.Owners {
		owner := &t.Spec.Owners[i]
		subject, ok := subjectOf(owner.UserSpec)
		if !ok {
			continue
		}
		for _, setting := range owner.ProxySettings {
			for _, op := range setting.Operations {
				ofOwners[operation{kindOf[setting.Kind], op}] = true
				o.operation(by, t, subject, kindOf[setting.Kind], op)
			}
		}
	}
	for _, namespace := range o.in[namespaces] {
		if !belongs(namespace, t) {
			continue
		}
		o.bindings(by, t, owners, namespace.GetName())
		for _, object := range o.in[settings] {
			if object.GetNamespace() != namespace.GetName() {
				continue
			}
			for _, s := range object.(*capsulev1beta2.ProxySetting).Spec.Subjects {
				subject, ok := subjectOf(s.UserSpec)
				for _, setting := range s.ProxySettings {
					for _, op := range setting.Operations {
						if ok && ofOwners[operation{kindOf[setting.Kind], op}] {
							o.operation(by, t, subject, kindOf[setting.Kind], op)
						}
					}
				}
			}
		}
	}
}

// operation gives an operation on what is the Tenant's of a kind. Nothing but List is
// given of everything, whatever its name, nor of the Tenant itself.
func (o *oracle) operation(by giver, t *capsulev1beta2.Tenant, to rbacv1.Subject, k *kind, op capsulev1beta2.ProxyOperation) {
	names, known := o.names[k]
	if !known {
		names = o.namesOf(t, k)
		o.names[k] = names
	}
	if op != capsulev1beta2.ListOperation && (k == tenants || slices.Contains(names, everyName)) {
		return
	}
	o.give(by, to, "", verbsOf[op], k.group, k.resource, names...)
	if k == nodes && op == capsulev1beta2.ListOperation {
		o.companions(by, to, names...)
	}
}

// companions gives what kubectl asks for beside nodes.
func (o *oracle) companions(by giver, to rbacv1.Subject, names ...string) {
	o.give(by, to, "", []string{"get"}, "metrics.k8s.io", "nodes", names...)
	o.give(by, to, leaseNamespace, []string{"get"}, "coordination.k8s.io", "leases", names...)
}

// namesOf returns which objects of a kind are the Tenant's.
func (o *oracle) namesOf(t *capsulev1beta2.Tenant, k *kind) []string {
	switch k {
	case tenants:
		return []string{t.Name}
	case nodes:
		if len(t.Spec.NodeSelector) == 0 {
			return []string{everyName}
		}
		return o.namesWhere(k, func(object client.Object) bool { return matchesAll(object, t.Spec.NodeSelector) })
	case volumes:
		return o.namesWhere(k, func(object client.Object) bool { return object.GetLabels()["capsule.clastix.io/tenant"] == t.Name })
	}
	var list *capsulev1beta2.DefaultAllowedList
	switch k {
	case storageClasses:
		list = t.Spec.StorageClasses
	case priorityClasses:
		list = t.Spec.PriorityClasses
	case runtimeClasses:
		list = t.Spec.RuntimeClasses
	case ingressClasses:
		if t.Spec.IngressOptions != nil {
			list = t.Spec.IngressOptions.AllowedClasses
		}
	}
	if list == nil {
		return []string{everyName}
	}
	return o.namesWhere(k, func(object client.Object) bool { return allows(list, object) })
}

func (o *oracle) namesWhere(k *kind, matches func(client.Object) bool) []string {
	var names []string
	for _, object := range o.in[k] {
		if matches(object) {
			names = append(names, object.GetName())
		}
	}
	return names
}

func matchesAll(object client.Object, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := object.GetLabels()[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// allows reports whether a list allows a class, in any of the ways that it has.
func allows(list *capsulev1beta2.DefaultAllowedList, class client.Object) bool {
	name := class.GetName()
	if slices.Contains(list.Allowed, name) || list.Default != "" && list.Default == name {
		return true
	}
	if regex, err := regexp.Compile(list.AllowedRegex); list.AllowedRegex != "" && err == nil && regex.MatchString(name) {
		return true
	}
	return selects(&list.LabelSelector, class)
}

// selects reports whether a selector selects an object. An empty one selects nothing,
// nor does one that cannot be understood; but Exists with values is read as In.
func selects(s *metav1.LabelSelector, object client.Object) bool {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return false
	}
	s = s.DeepCopy()
	for i := range s.MatchExpressions {
		if e := &s.MatchExpressions[i]; e.Operator == metav1.LabelSelectorOpExists && len(e.Values) > 0 {
			e.Operator = metav1.LabelSelectorOpIn
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(object.GetLabels()))
}

// bindings gives what the owners, and whom else the Tenant names, are in a namespace
// of it.
func (o *oracle) bindings(by giver, t *capsulev1beta2.Tenant, owners []owner, namespace string) {
	bind := func(to rbacv1.Subject, names ...string) {
		o.give(by, to, namespace, []string{bound}, rbacv1.GroupName, clusterRoles.resource, names...)
	}
	for _, owner := range owners {
		bind(owner.subject, readerRole)
		bind(owner.subject, owner.roles...)
	}
	for i := range t.Spec.AdditionalRoleBindings {
		for _, subject := range t.Spec.AdditionalRoleBindings[i].Subjects {
			bind(subject, t.Spec.AdditionalRoleBindings[i].ClusterRoleName)
		}
	}
}

// belongs reports whether a namespace is one of this very Tenant: its label and its
// one owner of that kind say so.
func belongs(namespace client.Object, t *capsulev1beta2.Tenant) bool {
	var owners []metav1.OwnerReference
	for _, owner := range namespace.GetOwnerReferences() {
		if strings.HasPrefix(owner.APIVersion, tenants.group+"/") && owner.Kind == "Tenant" {
			owners = append(owners, owner)
		}
	}
	return len(owners) == 1 && owners[0].Name == t.Name && owners[0].UID == t.UID &&
		namespace.GetLabels()["capsule.clastix.io/tenant"] == t.Name
}

func subjectOf(user capsulev1beta2.UserSpec) (rbacv1.Subject, bool) {
	if user.Kind != capsulev1beta2.ServiceAccountOwner {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: string(user.Kind), Name: user.Name}, true
	}
	parts := strings.Split(user.Name, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return rbacv1.Subject{}, false
	}
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: parts[2], Name: parts[3]}, true
}

func (o *oracle) global(s *capsulev1beta2.GlobalProxySettings) {
	by := giverFrom(globals, s)
	for _, rule := range s.Spec.Rules {
		for _, user := range rule.Subjects {
			subject, ok := subjectOf(user)
			if !ok {
				continue
			}
			for i := range rule.ClusterResources {
				o.clusterResource(by, subject, &rule.ClusterResources[i])
			}
		}
	}
}

func (o *oracle) clusterResource(by giver, to rbacv1.Subject, r *capsulev1beta2.ClusterResource) {
	verbs := []string{"get"}
	if r.Operations == nil || slices.Contains(r.Operations, capsulev1beta2.ClusterListOperation) {
		verbs = verbsOf[capsulev1beta2.ListOperation]
	}
	for _, k := range selected {
		if !slices.Contains(r.Resources, "*") && !slices.Contains(r.Resources, k.resource) || !slices.ContainsFunc(r.APIGroups, k.isIn) {
			continue
		}
		names := o.namesWhere(k, func(object client.Object) bool { return selects(r.Selector, object) })
		o.give(by, to, "", verbs, k.group, k.resource, names...)
		if k == nodes {
			o.companions(by, to, names...)
		}
	}
}

// isIn reports whether the kind is in an API group, as GlobalProxySettings name it: in
// one version or in all of them. Of patterns there is only that for everything.
func (k *kind) isIn(group string) bool {
	return group == "*" || group == k.group || group == k.group+"/"+k.version && k.group != ""
}

// claimant returns the Tenant of the namespace of a volume's claim, or an empty name:
// a volume that is claimed bears its label.
func claimant(volume *corev1.PersistentVolume, in inputs) (names []string) {
	claim := volume.Spec.ClaimRef
	if claim == nil {
		return nil
	}
	for _, namespace := range in[namespaces] {
		if namespace.GetName() != claim.Namespace {
			continue
		}
		for _, t := range in[tenants] {
			if belongs(namespace, t.(*capsulev1beta2.Tenant)) {
				names = append(names, t.GetName())
			}
		}
	}
	return names
}
