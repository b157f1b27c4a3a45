// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package quotas

import (
	"context"
	"crypto/md5" //nolint:gosec // the names of annotations are what Capsule makes them
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
)

// The annotations of a ResourceQuota that the namespaces of a tenant share begin with
// these, and end with a resource: how much all of them may use, and do.
const (
	hardPrefix = "quota.capsule.clastix.io/hard-"
	usedPrefix = "quota.capsule.clastix.io/used-"
)

// AreShared reports whether the namespaces of the Tenant share its quotas.
func AreShared(t *capsulev1beta2.Tenant) bool {
	return t.Spec.ResourceQuotas != nil && t.Spec.ResourceQuotas.Scope != capsulev1beta2.ResourceQuotaScopeNamespace
}

// IsShared reports whether a wanted ResourceQuota is one of those.
func IsShared(wanted *corev1.ResourceQuota) bool {
	for name := range wanted.Annotations {
		if strings.HasPrefix(name, hardPrefix) {
			return true
		}
	}
	return false
}

// Limits returns the annotations that say what the namespaces of a tenant may use
// together.
func Limits(hard corev1.ResourceList) map[string]string { return annotations(hardPrefix, hard) }

func annotations(prefix string, list corev1.ResourceList) map[string]string {
	annotations := make(map[string]string, len(list))
	for name, quantity := range list {
		annotations[annotation(prefix, name)] = quantity.String()
	}
	return annotations
}

// annotation returns the name of the annotation about a resource. What the name of an
// annotation cannot be is written as Capsule does.
func annotation(prefix string, name corev1.ResourceName) string {
	const longest = 63
	_, part, _ := strings.Cut(prefix, "/")
	suffix := strings.ReplaceAll(string(name), "/", "_")
	if len(part)+len(suffix) > longest {
		sum := md5.Sum([]byte(suffix)) //nolint:gosec // see the import
		suffix = hex.EncodeToString(sum[:])
	}
	return prefix + suffix
}

// Of returns the ResourceQuotas of a tenant in its namespaces, by the value of their
// label, which says of which item of the Tenant they are. They are the cache's own:
// callers must not modify them.
func Of(ctx context.Context, reader client.Reader, t metav1.Object) (map[string][]*corev1.ResourceQuota, error) {
	namespaces, err := objects.NamespacesOf(ctx, reader, t)
	if err != nil {
		return nil, err
	}
	ours := make(map[string]bool, len(namespaces))
	for i := range namespaces {
		ours[namespaces[i].Name] = true
	}
	var list corev1.ResourceQuotaList
	if err := reader.List(ctx, &list, client.MatchingFields{objects.TenantOfQuota: t.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ResourceQuotas of tenant %s: %w", t.GetName(), err)
	}
	byItem := map[string][]*corev1.ResourceQuota{}
	for i := range list.Items {
		quota := &list.Items[i]
		item := quota.Labels[capsulev1beta2.ResourceQuotaLabel]
		// Others may carry the labels, too.
		if quota.Name == objects.ItemName(t.GetName(), item) && ours[quota.Namespace] {
			byItem[item] = append(byItem[item], quota)
		}
	}
	return byItem, nil
}

// Total returns what namespaces use together of the resources that are limited.
func Total(hard corev1.ResourceList, quotas []*corev1.ResourceQuota) corev1.ResourceList {
	total := make(corev1.ResourceList, len(hard))
	for name, limit := range hard {
		sum := resource.Quantity{Format: limit.Format}
		for _, quota := range quotas {
			sum.Add(quota.Status.Used[name])
		}
		total[name] = sum
	}
	return total
}

// Share returns what one namespace may use of a shared quota: what it uses, and all
// that is left.
func Share(hard, total, used corev1.ResourceList) corev1.ResourceList {
	share := make(corev1.ResourceList, len(hard))
	for name, limit := range hard {
		left := limit.DeepCopy()
		left.Sub(total[name])
		if left.Sign() < 0 {
			left = resource.Quantity{Format: limit.Format}
		}
		left.Add(used[name])
		share[name] = left
	}
	return share
}
