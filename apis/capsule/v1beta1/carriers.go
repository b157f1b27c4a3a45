// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"slices"
	"strconv"
	"strings"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// Annotations that stand for fields of v1beta2.
const (
	cordonAnnotation       = "capsule.clastix.io/cordon"
	protectedAnnotation    = "capsule.clastix.io/protected"
	denyWildcardAnnotation = "capsule.clastix.io/deny-wildcard"
	// rolesPrefix is followed by the index of an owner, or by its kind and name.
	rolesPrefix = "clusterrolenames.capsule.clastix.io/"
)

var (
	labelsCarrier = forbiddenCarrier{
		exact: "capsule.clastix.io/forbidden-namespace-labels",
		regex: "capsule.clastix.io/forbidden-namespace-labels-regexp",
	}
	annotationsCarrier = forbiddenCarrier{
		exact: "capsule.clastix.io/forbidden-namespace-annotations",
		regex: "capsule.clastix.io/forbidden-namespace-annotations-regexp",
	}
)

// defaultRoles are those of an owner of whom no annotation says anything.
func defaultRoles() []string {
	return []string{"admin", capsulev1beta2.DeleterRole}
}

// forbiddenCarrier names the two annotations that stand for a list of forbidden keys.
type forbiddenCarrier struct {
	exact, regex string
}

func (c forbiddenCarrier) write(annotations map[string]string, list *capsulev1beta2.ForbiddenList) {
	delete(annotations, c.exact)
	delete(annotations, c.regex)
	if list == nil {
		return
	}
	if len(list.Denied) > 0 {
		annotations[c.exact] = strings.Join(list.Denied, ",")
	}
	if list.DeniedRegex != "" {
		annotations[c.regex] = list.DeniedRegex
	}
}

// read returns what the annotations say, or rest, where they still say the same of it.
func (c forbiddenCarrier) read(annotations map[string]string, rest *capsulev1beta2.ForbiddenList) *capsulev1beta2.ForbiddenList {
	exact, hasExact := annotations[c.exact]
	regex, hasRegex := annotations[c.regex]
	if rest != nil {
		was := map[string]string{}
		c.write(was, rest)
		wasExact, hadExact := was[c.exact]
		if exact == wasExact && hasExact == hadExact && regex == was[c.regex] {
			return rest
		}
	}
	if !hasExact && !hasRegex {
		return nil
	}
	out := &capsulev1beta2.ForbiddenList{DeniedRegex: regex}
	if hasExact {
		out.Denied = strings.Split(exact, ",")
	}
	return out
}

// parseCarrier returns the value of an annotation, if it is there and is a boolean.
func parseCarrier(annotations map[string]string, key string) (value, found bool) {
	s, found := annotations[key]
	if !found {
		return false, false
	}
	value, err := strconv.ParseBool(s)
	return value, err == nil
}

// rolesByIndex is the annotation with the roles of the owner at the index.
func rolesByIndex(i int) string {
	return rolesPrefix + strconv.Itoa(i)
}

// isRolesByIndex is true for what rolesByIndex returns.
func isRolesByIndex(key string) bool {
	index, found := strings.CutPrefix(key, rolesPrefix)
	if !found {
		return false
	}
	_, err := strconv.ParseUint(index, 10, 31)
	return err == nil
}

// namesOwner is true if the annotation has the roles of the owner by its name.
func namesOwner(key string, owner capsulev1beta2.UserSpec) bool {
	name, found := strings.CutPrefix(key, rolesPrefix)
	return found && strings.ReplaceAll(name, "__AT__", "@") == strings.ToLower(string(owner.Kind))+"."+strings.ToLower(owner.Name)
}

// writeRoles returns the annotation's value for the roles of an owner.
func writeRoles(roles []string) (value string, found bool) {
	return strings.Join(roles, ","), len(roles) > 0
}

// isCarrier is true for the annotations that ConvertFrom writes and ConvertTo reads.
// Of those with the roles of an owner, these are the ones that go by its index.
func isCarrier(key string) bool {
	switch key {
	case cordonAnnotation, protectedAnnotation, denyWildcardAnnotation, remainderAnnotation,
		labelsCarrier.exact, labelsCarrier.regex, annotationsCarrier.exact, annotationsCarrier.regex:
		return true
	default:
		return isRolesByIndex(key)
	}
}

// annotationsToV1beta1 returns the annotations for v1beta1, and apart from them those
// that a v1beta2 Tenant has by chance and that would mean something in v1beta1.
func annotationsToV1beta1(src *capsulev1beta2.Tenant) (annotations, hidden map[string]string) {
	annotations, hidden = map[string]string{}, map[string]string{}
	for key, value := range src.Annotations {
		if isCarrier(key) || contradicts(key, value, src.Spec.Owners) {
			hidden[key] = value
		} else {
			annotations[key] = value
		}
	}
	for i, owner := range src.Spec.Owners {
		if value, found := writeRoles(owner.ClusterRoles); found {
			annotations[rolesByIndex(i)] = value
		}
	}
	if options := src.Spec.NamespaceOptions; options != nil {
		labelsCarrier.write(annotations, options.ForbiddenLabels)
		annotationsCarrier.write(annotations, options.ForbiddenAnnotations)
	}
	wildcards := src.Spec.IngressOptions != nil && src.Spec.IngressOptions.AllowWildcardHostnames
	annotations[denyWildcardAnnotation] = strconv.FormatBool(!wildcards)
	if src.Spec.PreventDeletion {
		annotations[protectedAnnotation] = "true"
	}
	if src.Spec.Cordoned {
		annotations[cordonAnnotation] = "true"
	}
	return annotations, hidden
}

// readRoles returns the ClusterRoles that an annotation names. An empty one names none.
func readRoles(value string) []string {
	if value == "" {
		return []string{}
	}
	return strings.Split(value, ",")
}

// contradicts is true if the annotation names an owner, and other roles than it has.
func contradicts(key, value string, owners []capsulev1beta2.OwnerSpec) bool {
	for _, owner := range owners {
		if namesOwner(key, owner.UserSpec) && !slices.Equal(readRoles(value), owner.ClusterRoles) {
			return true
		}
	}
	return false
}

// annotationsFromV1beta1 returns the annotations for v1beta2. Those with roles stay in
// a Tenant that was written as v1beta1, and so do values that mean nothing.
func annotationsFromV1beta1(src *Tenant, rest *remainder) map[string]string {
	out := map[string]string{}
	for key, value := range src.Annotations {
		if !consumed(key, src, rest) {
			out[key] = value
		}
	}
	if rest != nil {
		for key, value := range rest.Annotations {
			if _, found := out[key]; !found {
				out[key] = value
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func consumed(key string, src *Tenant, rest *remainder) bool {
	switch key {
	case cordonAnnotation, denyWildcardAnnotation:
		_, found := parseCarrier(src.Annotations, key)
		return found
	case labelsCarrier.exact, labelsCarrier.regex, annotationsCarrier.exact, annotationsCarrier.regex:
		return rest != nil || src.Spec.NamespaceOptions != nil
	case protectedAnnotation, remainderAnnotation:
		return true
	default:
		return rest != nil && isRolesByIndex(key)
	}
}

// knownOwners finds out what is known of the owners of a v1beta1 Tenant.
type knownOwners struct {
	src *Tenant
	// was are the owners that there were, when the remainder has them.
	was []capsulev1beta2.OwnerSpec
	// now has the index in was of each owner that there is, or -1.
	now []int
	// kept is true of each element of was that is still there.
	kept []bool
}

func newKnownOwners(src *Tenant, rest *remainder) *knownOwners {
	k := &knownOwners{src: src}
	if rest != nil {
		k.was = rest.Spec.Owners
	}
	// A subject may be listed twice: the first is the first, and so on.
	indexes := map[capsulev1beta2.UserSpec][]int{}
	for i, owner := range k.was {
		indexes[owner.UserSpec] = append(indexes[owner.UserSpec], i)
	}
	k.kept = make([]bool, len(k.was))
	for _, owner := range src.Spec.Owners {
		index := -1
		if left := indexes[owner.UserSpec]; len(left) > 0 {
			index, indexes[owner.UserSpec] = left[0], left[1:]
			k.kept[index] = true
		}
		k.now = append(k.now, index)
	}
	return k
}

// at returns what the owner at the index was, or nil.
func (k *knownOwners) at(i int) *capsulev1beta2.OwnerSpec {
	if k.now[i] < 0 {
		return nil
	}
	return &k.was[k.now[i]]
}

// roles returns the ClusterRoles of the owner at the index: those of the annotation
// with its name, else those of the annotation with its index, else the default ones.
//
// An annotation with an index is about another owner as soon as one before it comes or
// goes. As long as nobody changed it, owners keep the roles that they had.
func (k *knownOwners) roles(i int) []string {
	owner := k.src.Spec.Owners[i].UserSpec
	was := k.at(i)
	for key, value := range k.src.Annotations {
		if !namesOwner(key, owner) {
			continue
		}
		roles := readRoles(value)
		if was != nil && slices.Equal(roles, was.ClusterRoles) {
			return was.ClusterRoles
		}
		return roles
	}

	value, found := k.src.Annotations[rolesByIndex(i)]
	var before string
	var had bool
	if i < len(k.was) {
		before, had = writeRoles(k.was[i].ClusterRoles)
	}
	changed := value != before || found != had
	switch {
	case was != nil && !changed:
		return was.ClusterRoles
	case was != nil && !found && k.now[i] != i:
		// The annotation went with the owner that it was about.
		return was.ClusterRoles
	case !found:
		return defaultRoles()
	case !changed && had && k.kept[i]:
		// The annotation is about an owner who is now elsewhere in the list.
		return defaultRoles()
	default:
		return readRoles(value)
	}
}
