// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/proxy"
	"tenancy.capsule.io/pkg/proxy/rewrite"
)

const (
	// atOnce is how many requests are sent at the same time.
	atOnce = 8
	// maxReviews is how many namespaces the rules are asked for, one request each, and
	// how many questions are asked where the API server cannot list all rules, as with an
	// authorizer outside of it.
	maxReviews = 500
)

// Reader asks an API server what its caller may see and do.
type Reader struct {
	clients kubernetes.Interface
	views   metadata.Interface
}

// NewReader returns a reader that asks with the credential of a configuration.
func NewReader(config *rest.Config) (*Reader, error) {
	config = rest.CopyConfig(config)
	// How many are sent at once is limited here, and how fast by the API server.
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	views, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client of the views: %w", err)
	}
	return &Reader{clients, views}, nil
}

// object is one that the caller may see.
type object struct{ tenant, name string }

// listed is what the caller sees of a resource.
type listed struct {
	resource *rewrite.Resource
	objects  []object
	// err is why that is not known.
	err error
}

// Read returns what the caller may see and do. With an error that is not of all of it, it
// returns what could be read.
func (r *Reader) Read(ctx context.Context) (*Access, error) {
	served, err := r.served(ctx)
	if err != nil {
		return nil, err
	}
	access := &Access{APIVersion: APIVersion, Kind: Kind, Items: []Item{}}
	if access.User, err = r.whoAmI(ctx); err != nil {
		access.Warnings = append(access.Warnings, err.Error())
	}
	lists := r.list(ctx, served)
	forbidden, failed := 0, []error{}
	for _, l := range lists {
		switch {
		case apierrors.IsForbidden(l.err):
			forbidden++
			access.Warnings = append(access.Warnings, l.err.Error())
		case l.err != nil:
			failed = append(failed, fmt.Errorf("list %s: %w", l.resource.View.Resource, l.err))
		}
	}
	if forbidden > 0 && forbidden == len(lists) {
		return nil, fmt.Errorf("you may list none of the views: an administrator has to bind the ClusterRole tenancy:viewer, which is for everybody, to you: %w", lists[0].err)
	}
	if err := r.judge(ctx, lists, access); err != nil {
		failed = append(failed, err)
	}
	return access, errors.Join(failed...)
}

// served returns what there are views of in this cluster.
func (r *Reader) served(ctx context.Context) ([]*rewrite.Resource, error) {
	version := v1alpha1.SchemeGroupVersion.String()
	list, err := discovery.ToServerResourcesInterfaceWithContext(r.clients.Discovery()).ServerResourcesForGroupVersionWithContext(ctx, version)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("this cluster does not serve %s: choose another with --context, or have an administrator install tenancy-apiserver there", version)
	case apierrors.IsServiceUnavailable(err):
		return nil, fmt.Errorf("%s is not available: tenancy-apiserver does not answer; \"kubectl get apiservice %s.%s\" says why: %w",
			version, v1alpha1.SchemeGroupVersion.Version, v1alpha1.SchemeGroupVersion.Group, err)
	case err != nil:
		return nil, fmt.Errorf("discover %s: %w", version, err)
	}
	var served []*rewrite.Resource
	for _, resource := range proxy.Resources() {
		if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource.View.Resource }) {
			served = append(served, resource)
		}
	}
	return served, nil
}

func (r *Reader) whoAmI(ctx context.Context) (*User, error) {
	review, err := r.clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask who the user is: %w", err)
	}
	return &User{Username: review.Status.UserInfo.Username, Groups: review.Status.UserInfo.Groups}, nil
}

// list lists the views, in the order given.
func (r *Reader) list(ctx context.Context, resources []*rewrite.Resource) []listed {
	lists := make([]listed, len(resources))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, resource := range resources {
		group.Go(func() error {
			objects, err := r.objects(ctx, resource)
			lists[i] = listed{resource, objects, err}
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	return lists
}

func (r *Reader) objects(ctx context.Context, resource *rewrite.Resource) ([]object, error) {
	view := r.views.Resource(resource.View.GroupVersion().WithResource(resource.View.Resource))
	var objects []object
	err := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return view.List(ctx, options)
	}).EachListItem(ctx, metav1.ListOptions{}, func(item runtime.Object) error {
		m, ok := item.(*metav1.PartialObjectMetadata)
		if !ok {
			return fmt.Errorf("%T where metadata should be", item)
		}
		objects = append(objects, object{tenantOf(resource, m), m.Name})
		return nil
	})
	return objects, err
}

// tenantOf returns the tenant of an object, or nothing. Of other objects the label means
// nothing: anybody may set it who may write them.
func tenantOf(resource *rewrite.Resource, m *metav1.PartialObjectMetadata) string {
	switch resource.Native.Resource {
	case "tenants":
		return m.Name
	case "namespaces", "persistentvolumes":
		return m.Labels[capsulev1beta2.TenantLabel]
	default:
		return ""
	}
}

// isNamespace reports whether a resource is that of namespaces, to which what is said of
// them in themselves applies.
func isNamespace(resource *rewrite.Resource) bool {
	return resource.Native.Group == corev1.GroupName && resource.Native.Resource == "namespaces"
}
