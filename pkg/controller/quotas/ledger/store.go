// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/tenant"
)

// Kind is that of the objects in which ledgers are stored. It is cached as metadata.
var Kind = corev1.SchemeGroupVersion.WithKind("ConfigMap")

// fieldManager is the manager of what is stored.
const fieldManager = objects.FieldManager + "-ledger"

// AddToCache limits a manager's cache of the metadata of ConfigMaps to the ledgers,
// which are in one namespace.
func AddToCache(options *cache.Options, namespace string) {
	if options.ByObject == nil {
		options.ByObject = map[client.Object]cache.ByObject{}
	}
	options.ByObject[objects.Metadata(Kind)] = cache.ByObject{
		Namespaces: map[string]cache.Config{namespace: {LabelSelector: objects.Has(capsulev1beta2.ResourceQuotaLabel)}},
	}
}

// Name returns that of the ledger of a Tenant for an item of its resourceQuotas, and
// of the ResourceQuotas that it is about.
func Name(t metav1.Object, item int) string {
	return "capsule-" + t.GetName() + "-" + strconv.Itoa(item)
}

// Store stores ledgers in ConfigMaps.
type Store struct {
	client    client.Client
	live      client.Reader
	namespace string
}

// NewStore returns the store of a namespace. It reads with live, which must not be a
// cache, and of what there is to delete with the client.
func NewStore(client client.Client, live client.Reader, namespace string) *Store {
	return &Store{client: client, live: live, namespace: namespace}
}

// Get returns a ledger, or nil if there is none for this very Tenant that can be
// read.
func (s *Store) Get(ctx context.Context, t metav1.Object, item int) (*Ledger, error) {
	stored := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: s.namespace, Name: Name(t, item)}
	switch err := s.live.Get(ctx, key, stored); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get ledger %s: %w", key, err)
	}
	if owner := metav1.GetControllerOfNoCopy(stored); owner == nil || owner.UID != t.GetUID() || stored.DeletionTimestamp != nil {
		return nil, nil
	}
	l, err := decode(stored)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Failed to read a ledger, as if there was none", "configMap", key)
		return nil, nil
	}
	return l, nil
}

// Create stores a new ledger. One that could not be got by Get is in its way, and is
// deleted: the error is a conflict then.
func (s *Store) Create(ctx context.Context, t metav1.Object, item int, l *Ledger) error {
	data, err := l.encode()
	if err != nil {
		return err
	}
	isController := true
	stored := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: Name(t, item),
			Labels: map[string]string{
				capsulev1beta2.ManagedByLabel:     capsulev1beta2.ManagedByController,
				capsulev1beta2.ManagedTenantLabel: t.GetName(),
				capsulev1beta2.ResourceQuotaLabel: strconv.Itoa(item),
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: tenant.Kind,
				Name: t.GetName(), UID: t.GetUID(), Controller: &isController,
			}},
		},
		Data: data,
	}
	err = s.client.Create(ctx, stored, client.FieldOwner(fieldManager))
	switch {
	case apierrors.IsAlreadyExists(err):
		return s.clear(ctx, client.ObjectKeyFromObject(stored))
	case err != nil:
		return fmt.Errorf("create ledger %s: %w", client.ObjectKeyFromObject(stored), err)
	}
	l.stored = stored
	return nil
}

// clear deletes a ledger of an earlier life of the Tenant, or that cannot be read.
func (s *Store) clear(ctx context.Context, key client.ObjectKey) error {
	present := objects.Metadata(Kind)
	if err := s.live.Get(ctx, key, present); err != nil {
		return fmt.Errorf("get ledger %s: %w", key, err)
	}
	if present.Labels[capsulev1beta2.ResourceQuotaLabel] == "" {
		return &objects.ForeignError{Kind: Kind.Kind, Key: key}
	}
	if err := s.remove(ctx, present); err != nil {
		return err
	}
	return apierrors.NewConflict(corev1.Resource("configmaps"), key.Name, errors.New("another one was there"))
}

// Update stores a ledger in place of what it was made of, and of nothing else: else
// the error is a conflict.
func (s *Store) Update(ctx context.Context, l *Ledger) error {
	data, err := l.encode()
	if err != nil {
		return err
	}
	stored := l.stored.DeepCopy()
	stored.Data = data
	if err := s.client.Update(ctx, stored, client.FieldOwner(fieldManager)); err != nil {
		if apierrors.IsNotFound(err) {
			// It was deleted, and may be made again.
			err = apierrors.NewConflict(corev1.Resource("configmaps"), stored.Name, err)
		}
		return fmt.Errorf("write ledger %s: %w", client.ObjectKeyFromObject(stored), err)
	}
	l.stored = stored
	return nil
}

// Prune deletes the ledgers of a Tenant but for those of its first items.
func (s *Store) Prune(ctx context.Context, tenant string, items int) error {
	wanted := map[string]bool{}
	for i := range items {
		wanted[Name(&metav1.ObjectMeta{Name: tenant}, i)] = true
	}
	list := objects.MetadataList(Kind)
	selector := labels.SelectorFromSet(labels.Set{capsulev1beta2.ManagedTenantLabel: tenant})
	if err := s.client.List(ctx, list, client.InNamespace(s.namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list ledgers of tenant %s: %w", tenant, err)
	}
	var errs []error
	for i := range list.Items {
		if !wanted[list.Items[i].Name] {
			errs = append(errs, s.remove(ctx, &list.Items[i]))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) remove(ctx context.Context, stored *metav1.PartialObjectMetadata) error {
	uid := stored.UID
	if err := s.client.Delete(ctx, stored, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete ledger %s: %w", client.ObjectKeyFromObject(stored), err)
	}
	return nil
}
