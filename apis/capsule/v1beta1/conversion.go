// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/conversion"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// A v1beta2 Tenant has three kinds of fields:
//
//   - those that v1beta1 has, too. They are copied, and what is written in v1beta1
//     is what counts;
//   - those for which an annotation of the v1beta1 Tenant stands, see carriers.go.
//     They are written and read as Capsule does;
//   - all others. They travel in one more annotation, see remainder.go, so that who
//     reads a Tenant as v1beta1 and writes it back leaves them as they were.
//
// A v1beta1 Tenant without the last annotation is one that somebody wrote as such,
// and is read as Capsule reads it.
var (
	_ conversion.Convertible = &Tenant{}
	_ conversion.Hub         = &capsulev1beta2.Tenant{}
)

// ConvertTo writes the Tenant to hub, a v1beta2 Tenant.
func (t *Tenant) ConvertTo(hub conversion.Hub) error {
	dst, ok := hub.(*capsulev1beta2.Tenant)
	if !ok {
		return fmt.Errorf("convert Tenant: want a *v1beta2.Tenant, got %T", hub)
	}
	src := t.DeepCopy()
	rest, err := unpackRemainder(src.Annotations)
	if err != nil {
		return fmt.Errorf("convert Tenant %q: %w", src.Name, err)
	}

	dst.ObjectMeta = src.ObjectMeta
	dst.Spec, dst.Status = capsulev1beta2.TenantSpec{}, capsulev1beta2.TenantStatus{}
	if rest != nil {
		dst.Spec, dst.Status = rest.Spec, rest.Status
	}

	dst.Spec.Owners = ownersFromV1beta1(src, rest)
	dst.Spec.NamespaceOptions = namespaceOptionsFromV1beta1(src, rest)
	dst.Spec.ServiceOptions = src.Spec.ServiceOptions
	dst.Spec.StorageClasses = classesFromV1beta1(src.Spec.StorageClasses, dst.Spec.StorageClasses)
	dst.Spec.PriorityClasses = classesFromV1beta1(src.Spec.PriorityClasses, dst.Spec.PriorityClasses)
	dst.Spec.IngressOptions = ingressOptionsFromV1beta1(src, dst.Spec.IngressOptions)
	dst.Spec.ContainerRegistries = src.Spec.ContainerRegistries
	dst.Spec.ImagePullPolicies = src.Spec.ImagePullPolicies
	dst.Spec.NodeSelector = src.Spec.NodeSelector
	dst.Spec.NetworkPolicies = src.Spec.NetworkPolicies
	dst.Spec.LimitRanges = src.Spec.LimitRanges
	dst.Spec.ResourceQuotas = src.Spec.ResourceQuotas
	dst.Spec.AdditionalRoleBindings = src.Spec.AdditionalRoleBindings
	dst.Spec.Cordoned, _ = parseCarrier(src.Annotations, cordonAnnotation)
	_, dst.Spec.PreventDeletion = src.Annotations[protectedAnnotation]

	dst.Status.State = stateFromV1beta1(src.Status.State, rest)
	dst.Status.Size = src.Status.Size
	dst.Status.Namespaces = src.Status.Namespaces

	dst.Annotations = annotationsFromV1beta1(src, rest)
	return nil
}

// ConvertFrom reads the Tenant from hub, a v1beta2 Tenant.
func (t *Tenant) ConvertFrom(hub conversion.Hub) error {
	from, ok := hub.(*capsulev1beta2.Tenant)
	if !ok {
		return fmt.Errorf("convert Tenant: want a *v1beta2.Tenant, got %T", hub)
	}
	src := from.DeepCopy()

	t.ObjectMeta = src.ObjectMeta
	t.Spec = TenantSpec{
		Owners:                 ownersToV1beta1(src.Spec.Owners),
		NamespaceOptions:       namespaceOptionsToV1beta1(src.Spec.NamespaceOptions),
		ServiceOptions:         src.Spec.ServiceOptions,
		StorageClasses:         classesToV1beta1(src.Spec.StorageClasses),
		PriorityClasses:        classesToV1beta1(src.Spec.PriorityClasses),
		IngressOptions:         ingressOptionsToV1beta1(src.Spec.IngressOptions),
		ContainerRegistries:    src.Spec.ContainerRegistries,
		ImagePullPolicies:      src.Spec.ImagePullPolicies,
		NodeSelector:           src.Spec.NodeSelector,
		NetworkPolicies:        src.Spec.NetworkPolicies,
		LimitRanges:            src.Spec.LimitRanges,
		ResourceQuotas:         src.Spec.ResourceQuotas,
		AdditionalRoleBindings: src.Spec.AdditionalRoleBindings,
	}
	t.Status = TenantStatus{
		State:      stateToV1beta1(src.Status.State),
		Size:       src.Status.Size,
		Namespaces: src.Status.Namespaces,
	}

	// The remainder takes src apart, so it comes last.
	annotations, hidden := annotationsToV1beta1(src)
	packed, err := packRemainder(remainderOf(src, hidden), annotations)
	if err != nil {
		return fmt.Errorf("convert Tenant %q: %w", src.Name, err)
	}
	annotations[remainderAnnotation] = packed
	t.Annotations = annotations
	return nil
}

func ownersToV1beta1(owners []capsulev1beta2.OwnerSpec) []OwnerSpec {
	// The list is required: it may be empty, but has to be there.
	out := make([]OwnerSpec, 0, len(owners))
	for _, owner := range owners {
		out = append(out, OwnerSpec{UserSpec: owner.UserSpec, ProxySettings: owner.ProxySettings})
	}
	return out
}

func ownersFromV1beta1(src *Tenant, rest *remainder) []capsulev1beta2.OwnerSpec {
	known := newKnownOwners(src, rest)
	out := make([]capsulev1beta2.OwnerSpec, 0, len(src.Spec.Owners))
	for i, owner := range src.Spec.Owners {
		converted := capsulev1beta2.OwnerSpec{
			CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: owner.UserSpec, ClusterRoles: known.roles(i)},
			ProxySettings: owner.ProxySettings,
		}
		if was := known.at(i); was != nil {
			converted.Labels, converted.Annotations = was.Labels, was.Annotations
		}
		out = append(out, converted)
	}
	return out
}

func namespaceOptionsToV1beta1(options *capsulev1beta2.NamespaceOptions) *NamespaceOptions {
	if options == nil {
		return nil
	}
	return &NamespaceOptions{Quota: options.Quota, AdditionalMetadata: options.AdditionalMetadata}
}

// namespaceOptionsFromV1beta1: who removes the options as v1beta1 removes those that
// it shows. The others stay.
func namespaceOptionsFromV1beta1(src *Tenant, rest *remainder) *capsulev1beta2.NamespaceOptions {
	out := &capsulev1beta2.NamespaceOptions{}
	known := false
	if rest != nil && rest.Spec.NamespaceOptions != nil {
		out, known = rest.Spec.NamespaceOptions, true
	}
	out.Quota, out.AdditionalMetadata = nil, nil
	if options := src.Spec.NamespaceOptions; options != nil {
		out.Quota, out.AdditionalMetadata = options.Quota, options.AdditionalMetadata
		known = true
	}
	if known || rest != nil {
		out.ForbiddenLabels = labelsCarrier.read(src.Annotations, out.ForbiddenLabels)
		out.ForbiddenAnnotations = annotationsCarrier.read(src.Annotations, out.ForbiddenAnnotations)
		known = known || out.ForbiddenLabels != nil || out.ForbiddenAnnotations != nil
	}
	if !known {
		return nil
	}
	return out
}

func classesToV1beta1(classes *capsulev1beta2.DefaultAllowedList) *capsulev1beta2.AllowedList {
	if classes == nil {
		return nil
	}
	return &classes.AllowedList
}

// classesFromV1beta1: a list that is removed as v1beta1 is gone, with its default and
// its selector, for without a list every class is allowed.
func classesFromV1beta1(list *capsulev1beta2.AllowedList, rest *capsulev1beta2.DefaultAllowedList) *capsulev1beta2.DefaultAllowedList {
	if list == nil {
		return nil
	}
	if rest == nil {
		rest = &capsulev1beta2.DefaultAllowedList{}
	}
	rest.AllowedList = *list
	return rest
}

func ingressOptionsToV1beta1(options *capsulev1beta2.IngressOptions) *IngressOptions {
	if options == nil {
		return nil
	}
	return &IngressOptions{
		AllowedClasses:         classesToV1beta1(options.AllowedClasses),
		HostnameCollisionScope: options.HostnameCollisionScope,
		AllowedHostnames:       options.AllowedHostnames,
	}
}

func ingressOptionsFromV1beta1(src *Tenant, rest *capsulev1beta2.IngressOptions) *capsulev1beta2.IngressOptions {
	deny, found := parseCarrier(src.Annotations, denyWildcardAnnotation)
	wildcards := found && !deny
	options := src.Spec.IngressOptions
	if options == nil && !wildcards {
		return nil
	}
	if rest == nil {
		rest = &capsulev1beta2.IngressOptions{}
	}
	if options == nil {
		options = &IngressOptions{}
	}
	rest.AllowedClasses = classesFromV1beta1(options.AllowedClasses, rest.AllowedClasses)
	rest.HostnameCollisionScope = options.HostnameCollisionScope
	rest.AllowedHostnames = options.AllowedHostnames
	rest.AllowWildcardHostnames = wildcards
	return rest
}

func stateToV1beta1(state capsulev1beta2.TenantState) TenantState {
	if state == capsulev1beta2.TenantStateCordoned {
		return TenantStateCordoned
	}
	return TenantStateActive
}

// stateFromV1beta1: where v1beta1 says what it would say of the state that there was,
// that state stays.
func stateFromV1beta1(state TenantState, rest *remainder) capsulev1beta2.TenantState {
	if state == TenantStateCordoned {
		return capsulev1beta2.TenantStateCordoned
	}
	if rest != nil && rest.State != nil && stateToV1beta1(*rest.State) == TenantStateActive {
		return *rest.State
	}
	return capsulev1beta2.TenantStateActive
}
