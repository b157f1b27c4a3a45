// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// rememberedClients is for how many service accounts clients are kept.
const rememberedClients = 256

// account is a service account. It need not exist: what it may do, RBAC says.
type account struct {
	namespace, name string
}

func (a account) String() string { return a.namespace + "/" + a.name }

// userName returns the name that the API server knows it by.
func (a account) userName() string { return "system:serviceaccount:" + a.namespace + ":" + a.name }

// newAccount returns the service account that a field names. What is no name of one
// might be read as another user's.
func newAccount(field, namespace, name string) (account, error) {
	problems := utilvalidation.IsDNS1123Label(namespace)
	problems = append(problems, validation.ValidateServiceAccountName(name, false)...)
	if len(problems) > 0 {
		return account{}, &failureError{reasonNoAccount,
			fmt.Sprintf("%s: no service account is called %q in a namespace %q: %s", field, name, namespace, strings.Join(problems, ", "))}
	}
	return account{namespace, name}, nil
}

// identity is a service account and a client that acts as it.
type identity struct {
	client.Client
	account
}

// identity returns as whom the objects of a subject are read and written, and says so
// in its status. The failure is about who that is; the error is like that of
// reconcile.
func (r *reconciler) identity(ctx context.Context, s *subject) (as identity, failure, err error) {
	var configuration capsulev1beta2.CapsuleConfiguration
	if err := r.Get(ctx, client.ObjectKey{Name: r.configuration}, &configuration); client.IgnoreNotFound(err) != nil {
		return identity{}, nil, fmt.Errorf("get configuration: %w", err)
	}
	if i := configuration.Spec.Impersonation; i != nil && i.Endpoint != "" {
		return identity{}, &failureError{capsulev1beta2.FailedReason,
			"spec.impersonation.endpoint of the CapsuleConfiguration is not supported: objects are written to the API server that the controller uses"}, nil
	}
	a, err := s.account(configuration.Spec.Impersonation)
	if err != nil {
		if len(s.status.ProcessedItems) == 0 {
			s.status.ServiceAccount = nil
		}
		return identity{}, err, nil
	}
	if as, err = r.identityOf(a); err != nil {
		return identity{}, nil, err
	}
	s.status.ServiceAccount = &capsulev1beta2.ProcessedServiceAccount{Namespace: a.namespace, Name: a.name}
	return as, nil, nil
}

func (r *reconciler) identityOf(a account) (identity, error) {
	c, err := r.as(a)
	if err != nil {
		return identity{}, fmt.Errorf("create client for %s: %w", a, err)
	}
	return identity{c, a}, nil
}

// lastIdentity is like identity, for a subject that is being deleted: if nobody names
// a service account any more, it is the one as which the objects were written last.
func (r *reconciler) lastIdentity(ctx context.Context, s *subject) (as identity, failure, err error) {
	as, failure, err = r.identity(ctx, s)
	if failure == nil || err != nil {
		return as, failure, err
	}
	if last := s.status.ServiceAccount; last != nil && s.mayAct(last.Namespace) {
		if a, err := newAccount("status.serviceAccount", last.Namespace, last.Name); err == nil {
			as, err = r.identityOf(a)
			return as, nil, err
		}
	}
	reason := reasonNoAccount
	if f, ok := errors.AsType[*failureError](failure); ok {
		reason = f.reason
	}
	return identity{}, &failureError{reason, fmt.Sprintf(
		"%d objects are left in namespaces that live on, and wait for a service account to remove them: %s. "+
			"Or remove them yourself, and then the finalizer %s of this object", len(s.status.ProcessedItems), failure, capsulev1beta2.Finalizer)}, nil
}

// explain returns an error about a request with what to do about it.
func (a account) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "cannot impersonate resource"):
		return fmt.Errorf("%w: the controller may not act as the service account %s", err, a)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: give the service account %s that right, or name another", err, a)
	case isFieldConflict(err):
		return fmt.Errorf("%w: set spec.settings.force to overwrite what others set", err)
	}
	return err
}

// clients gives out clients that act as service accounts. They share the connections
// of the manager, and each has its own limit of requests where there is one. It may
// be used concurrently.
type clients struct {
	config  *rest.Config
	base    http.RoundTripper
	options client.Options
	// extra is part of the users as whom they act.
	extra map[string][]string
	// known holds clients by account.
	known *lru.Cache
}

// newClients returns clients that send what they are asked by a transport.
func newClients(config *rest.Config, base http.RoundTripper, options client.Options, extra map[string][]string) *clients {
	return &clients{config: config, base: limitedTransport{base, maxResponse}, options: options, extra: extra, known: lru.New(rememberedClients)}
}

func (c *clients) as(a account) (client.Client, error) {
	if known, ok := c.known.Get(a); ok {
		return known.(client.Client), nil //nolint:forcetypeassert // nothing else is put in
	}
	options := c.options
	// The API server adds the groups of a service account itself. To name them would
	// take the right to act as any group.
	options.HTTPClient = &http.Client{
		Transport: transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{UserName: a.userName(), Extra: c.extra}, c.base),
		Timeout:   c.config.Timeout,
	}
	config := rest.CopyConfig(c.config)
	if config.QPS > 0 {
		config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, max(config.Burst, 1))
	}
	created, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	c.known.Add(a, created)
	return created, nil
}
