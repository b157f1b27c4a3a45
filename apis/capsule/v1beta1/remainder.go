// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

const (
	// remainderAnnotation keeps what a v1beta2 Tenant says and v1beta1 cannot.
	remainderAnnotation = "tenancy.capsule.io/v1beta2"
	// compressAbove is the length above which the annotation is compressed: all
	// annotations together may have 256 KiB.
	compressAbove = 32 << 10
	// maxRemainder is the length that is read at most. A Tenant of more bytes cannot
	// be stored.
	maxRemainder = 8 << 20
)

// remainder is what a v1beta2 Tenant says and v1beta1 cannot.
type remainder struct {
	// Annotations that would mean something in v1beta1.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Spec without the fields that v1beta1 has. Its owners are all owners, in order,
	// or none.
	Spec capsulev1beta2.TenantSpec `json:"spec,omitzero"`
	// State, when v1beta1 has another.
	State *capsulev1beta2.TenantState `json:"state,omitempty"`
	// Status without the fields that v1beta1 has.
	Status capsulev1beta2.TenantStatus `json:"status,omitzero"`
	// Gzip is all of the above, compressed, when it is long.
	Gzip []byte `json:"gzip,omitempty"`
}

// remainderOf takes away from a Tenant what v1beta1 can say. What is not taken away
// here is carried, so a field that comes to v1beta2 needs nothing to be done.
func remainderOf(src *capsulev1beta2.Tenant, hidden map[string]string) *remainder {
	spec, status := src.Spec, src.Status

	spec.Owners = remainderOfOwners(spec.Owners)
	spec.NamespaceOptions = remainderOfNamespaceOptions(spec.NamespaceOptions)
	spec.ServiceOptions = nil
	spec.StorageClasses = remainderOfClasses(spec.StorageClasses)
	spec.PriorityClasses = remainderOfClasses(spec.PriorityClasses)
	spec.IngressOptions = remainderOfIngressOptions(spec.IngressOptions)
	spec.ContainerRegistries = nil
	spec.ImagePullPolicies = nil
	spec.NodeSelector = nil
	spec.NetworkPolicies = nil
	spec.LimitRanges = nil
	spec.ResourceQuotas = nil
	spec.AdditionalRoleBindings = nil
	spec.Cordoned = false
	spec.PreventDeletion = false

	rest := &remainder{Annotations: hidden}
	if state := status.State; state != stateFromV1beta1(stateToV1beta1(state), nil) {
		rest.State = &state
	}
	status.State = ""
	status.Size = 0
	status.Namespaces = nil

	rest.Spec, rest.Status = spec, status
	return rest
}

// remainderOfOwners returns no owners if there is nothing to say of any. Otherwise it
// returns all, for the annotations with roles go by the index.
func remainderOfOwners(owners []capsulev1beta2.OwnerSpec) []capsulev1beta2.OwnerSpec {
	plain := !slices.ContainsFunc(owners, func(owner capsulev1beta2.OwnerSpec) bool {
		return owner.Labels != nil || owner.Annotations != nil || !slices.Equal(owner.ClusterRoles, defaultRoles())
	})
	if plain {
		return nil
	}
	out := slices.Clone(owners)
	for i := range out {
		out[i].ProxySettings = nil
	}
	return out
}

func remainderOfNamespaceOptions(options *capsulev1beta2.NamespaceOptions) *capsulev1beta2.NamespaceOptions {
	if options == nil {
		return nil
	}
	out := *options
	out.Quota, out.AdditionalMetadata = nil, nil
	out.ForbiddenLabels = labelsCarrier.remainder(out.ForbiddenLabels)
	out.ForbiddenAnnotations = annotationsCarrier.remainder(out.ForbiddenAnnotations)
	if len(out.AdditionalMetadataList) == 0 && out.ForbiddenLabels == nil && out.ForbiddenAnnotations == nil &&
		out.RequiredMetadata == nil && out.ManagedMetadataOnly == nil {
		return nil
	}
	return &out
}

// remainder returns the list unless the annotations say all of it.
func (c forbiddenCarrier) remainder(list *capsulev1beta2.ForbiddenList) *capsulev1beta2.ForbiddenList {
	annotations := map[string]string{}
	c.write(annotations, list)
	read := c.read(annotations, nil)
	if list == nil || (read != nil && slices.Equal(read.Denied, list.Denied) && read.DeniedRegex == list.DeniedRegex) {
		return nil
	}
	return list
}

func remainderOfClasses(classes *capsulev1beta2.DefaultAllowedList) *capsulev1beta2.DefaultAllowedList {
	if classes == nil || (classes.Default == "" && len(classes.MatchLabels) == 0 && len(classes.MatchExpressions) == 0) {
		return nil
	}
	out := *classes
	out.AllowedList = capsulev1beta2.AllowedList{}
	return &out
}

func remainderOfIngressOptions(options *capsulev1beta2.IngressOptions) *capsulev1beta2.IngressOptions {
	if options == nil {
		return nil
	}
	classes := remainderOfClasses(options.AllowedClasses)
	if classes == nil {
		return nil
	}
	return &capsulev1beta2.IngressOptions{AllowedClasses: classes}
}

// packRemainder returns the value of the annotation, which has to fit beside others.
func packRemainder(rest *remainder, others map[string]string) (string, error) {
	room := validation.TotalAnnotationSizeLimitB - len(remainderAnnotation)
	for key, value := range others {
		room -= len(key) + len(value)
	}
	packed, err := marshalRemainder(rest)
	if err != nil {
		return "", err
	}
	if len(packed) > room && len(rest.Status.Spaces) > 0 {
		// The controller finds out again what is known of each namespace.
		rest.Status.Spaces = nil
		if packed, err = marshalRemainder(rest); err != nil {
			return "", err
		}
	}
	if len(packed) > room {
		return "", fmt.Errorf("annotation %s would be %d bytes too long: read the Tenant as v1beta2", remainderAnnotation, len(packed)-room)
	}
	return packed, nil
}

func marshalRemainder(rest *remainder) (string, error) {
	packed, err := json.Marshal(rest)
	if err != nil {
		return "", fmt.Errorf("write annotation %s: %w", remainderAnnotation, err)
	}
	if len(packed) <= compressAbove {
		return string(packed), nil
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(packed); err != nil {
		return "", fmt.Errorf("compress annotation %s: %w", remainderAnnotation, err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("compress annotation %s: %w", remainderAnnotation, err)
	}
	if packed, err = json.Marshal(remainder{Gzip: compressed.Bytes()}); err != nil {
		return "", fmt.Errorf("write annotation %s: %w", remainderAnnotation, err)
	}
	return string(packed), nil
}

// unpackRemainder returns what the annotation says, or nil if there is none.
func unpackRemainder(annotations map[string]string) (*remainder, error) {
	packed, found := annotations[remainderAnnotation]
	if !found {
		return nil, nil
	}
	rest, err := parseRemainder(packed)
	if err != nil {
		return nil, fmt.Errorf("annotation %s keeps the fields that v1beta1 does not have, and cannot be read: "+
			"leave it as it was read, or remove it together with these fields: %w", remainderAnnotation, err)
	}
	return rest, nil
}

func parseRemainder(packed string) (*remainder, error) {
	rest, err := decodeRemainder(strings.NewReader(packed))
	if err != nil || len(rest.Gzip) == 0 {
		return rest, err
	}
	r, err := gzip.NewReader(bytes.NewReader(rest.Gzip))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	rest, err = decodeRemainder(&io.LimitedReader{R: r, N: maxRemainder})
	if err == nil && len(rest.Gzip) > 0 {
		return nil, errors.New("gzip: compressed twice")
	}
	return rest, err
}

// decodeRemainder refuses what it does not know, rather than lose it.
func decodeRemainder(r io.Reader) (*remainder, error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	rest := &remainder{}
	if err := decoder.Decode(rest); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return rest, nil
}
