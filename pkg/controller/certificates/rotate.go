// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Whom the certificate is for, and who is told its CA.
const (
	controllerService = "tenancy-controller"
	apiServerService  = "tenancy-apiserver"
	// localhost is for those who ask a server on their own host.
	localhost = "localhost"

	// Both webhook configurations have the name of the Service.
	tenantsDefinition = "tenants.capsule.clastix.io"
	apiService        = "v1alpha1.tenancy.capsule.io"

	organization = "capsule-tenancy"
	authority    = "tenancy-ca"
	fieldManager = "tenancy-controller-certificates"
)

// Config says where the certificate is.
type Config struct {
	// Namespace is the one of the Secret and of the Services.
	Namespace, Secret string
	// Dir is where the files are written to.
	Dir string
	// Webhooks says whether the webhook configurations and the conversion of Tenants
	// are this controller's, and not another operator's.
	Webhooks bool
}

func (c Config) key() client.ObjectKey {
	return client.ObjectKey{Namespace: c.Namespace, Name: c.Secret}
}

// AddToCache limits a manager's cache of Secrets to the one.
func (c Config) AddToCache(options *cache.Options) {
	if options.ByObject == nil {
		options.ByObject = map[client.Object]cache.ByObject{}
	}
	options.ByObject[&corev1.Secret{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{
			c.Namespace: {FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, c.Secret)},
		},
	}
}

// Add has a manager, whose cache was made with AddToCache, keep the Secret and the
// files. Nothing else in the manager may read Secrets from the cache.
func Add(mgr ctrl.Manager, c Config) error {
	if err := addFiles(mgr, c); err != nil {
		return fmt.Errorf("add writer of files: %w", err)
	}
	if err := rotator.AddRotator(sparing{mgr}, c.rotator()); err != nil {
		return fmt.Errorf("add rotator: %w", err)
	}
	return nil
}

// sparing is a manager whose client does not write what is so already: the rotator
// tells everybody the CA whenever it starts.
type sparing struct{ ctrl.Manager }

// GetClient implements manager.Manager.
func (m sparing) GetClient() client.Client {
	return sparingClient{m.Manager.GetClient(), m.GetAPIReader()}
}

type sparingClient struct {
	client.Client
	live client.Reader
}

// Update implements client.Writer.
func (c sparingClient) Update(ctx context.Context, object client.Object, opts ...client.UpdateOption) error {
	if object, ok := object.(*unstructured.Unstructured); ok {
		is := &unstructured.Unstructured{}
		is.SetGroupVersionKind(object.GroupVersionKind())
		// Whatever keeps it from being read, the update says.
		if err := c.live.Get(ctx, client.ObjectKeyFromObject(object), is); err == nil && equality.Semantic.DeepEqual(is.Object, object.Object) {
			return nil
		}
	}
	return c.Client.Update(ctx, object, opts...)
}

// rotator returns what the leader runs.
func (c Config) rotator() *rotator.CertRotator {
	informed := []rotator.WebhookInfo{{Name: apiService, Type: rotator.APIService}}
	if c.Webhooks {
		informed = append(informed,
			rotator.WebhookInfo{Name: controllerService, Type: rotator.Validating},
			rotator.WebhookInfo{Name: controllerService, Type: rotator.Mutating},
			rotator.WebhookInfo{Name: tenantsDefinition, Type: rotator.CRDConversion},
		)
	}
	return &rotator.CertRotator{
		SecretKey:             c.key(),
		CertDir:               c.Dir,
		CAName:                authority,
		CAOrganization:        organization,
		DNSName:               c.dnsName(controllerService),
		ExtraDNSNames:         []string{c.dnsName(apiServerService), localhost},
		IsReady:               make(chan struct{}),
		Webhooks:              informed,
		FieldOwner:            fieldManager,
		RequireLeaderElection: true,
	}
}

// dnsName returns the name by which the API server calls a Service.
func (c Config) dnsName(service string) string { return service + "." + c.Namespace + ".svc" }
