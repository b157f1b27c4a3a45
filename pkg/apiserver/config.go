// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/utils/clock"

	"tenancy.capsule.io/pkg/access"
	"tenancy.capsule.io/pkg/internal/feed"
	"tenancy.capsule.io/pkg/registry"
)

// Name is the name of the server.
const Name = "tenancy-apiserver"

// ExtraConfig is what the server needs beyond the generic one.
type ExtraConfig struct {
	// Clients read the native objects and RBAC.
	Clients registry.Clients
	Clock   clock.WithTicker
	// AllowAnyRequestHeaderName accepts users from every bearer of a certificate
	// of the front proxy's CA, which is what an empty requestheader-allowed-names
	// in the cluster's configuration says.
	AllowAnyRequestHeaderName bool
	// MaxWatchesPerUser is how many watches a user may have open; 0 for any number.
	MaxWatchesPerUser int
}

// Config makes a server. Authentication and authorization of Generic are those
// that the server delegates to.
type Config struct {
	Generic *genericapiserver.Config
	Extra   ExtraConfig
}

// NewGenericConfig returns the generic config that options are applied to.
func NewGenericConfig() *genericapiserver.Config {
	generic := genericapiserver.NewConfig(Codecs)
	applyOpenAPI(generic)
	return generic
}

type completedConfig struct {
	generic genericapiserver.CompletedConfig
	extra   *ExtraConfig
	index   *access.Index
	feeds   []*feed.Feed
	guard   requestHeaderGuard
}

// CompletedConfig is a Config that is ready to make a server. It cannot be made
// outside this package but by Config.Complete.
type CompletedConfig struct {
	*completedConfig
}

// Complete puts the server's own authentication and authorization in front of the
// delegated ones. It returns an error if the cluster's configuration of request
// headers is not safe.
func (c *Config) Complete() (CompletedConfig, error) {
	guard := requestHeaderGuard{config: c.Generic.Authentication.RequestHeaderConfig, allowAny: c.Extra.AllowAnyRequestHeaderName}
	if err := guard.check(); err != nil {
		return CompletedConfig{}, err
	}
	index := access.NewIndex(append(registry.Questions(), coarseQuestions()...)...)
	feeds := index.Feeds(c.Extra.Clients.Kubernetes, c.Extra.Clock)
	completed := &completedConfig{extra: &c.Extra, index: index, feeds: feeds, guard: guard}

	authorizer, err := union.New(
		union.NamedAuthorizer{AuthorizerName: "tenancy.capsule.io/access-index", Authorizer: newViewAuthorizer(index, completed.accessReady)},
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/delegated", Authorizer: c.Generic.Authorization.Authorizer},
	)
	if err != nil {
		return CompletedConfig{}, fmt.Errorf("compose authorizers: %w", err)
	}
	c.Generic.Authorization.Authorizer = authorizer
	c.Generic.Authentication.Authenticator = guard.protect(noAnonymous(c.Generic.Authentication.Authenticator))
	chain := c.Generic.BuildHandlerChainFunc
	c.Generic.BuildHandlerChainFunc = func(handler http.Handler, generic *genericapiserver.Config) http.Handler {
		return guard.awaitCA(chain(withoutProtobuf(handler, registry.ResourcesWithoutProtobuf()), generic))
	}
	completed.generic = c.Generic.Complete(nil)
	return CompletedConfig{completed}, nil
}

// accessReady returns nil if the index is complete and current.
func (c *completedConfig) accessReady() error {
	var errs []error
	for _, f := range c.feeds {
		if err := f.Check(); err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}
