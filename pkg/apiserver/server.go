// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
	"tenancy.capsule.io/pkg/internal/feed"
	"tenancy.capsule.io/pkg/internal/metrics"
	"tenancy.capsule.io/pkg/registry"
)

// Server is tenancy-apiserver.
type Server struct {
	generic *genericapiserver.GenericAPIServer
	client  kubernetes.Interface
	lease   *lease
	// accessFeeds fill the index; accessReady returns an error while it is not
	// complete and current.
	accessFeeds []*feed.Feed
	accessReady func() error
	views       []registry.View
}

// New returns a server that serves every view. It is not ready until the views
// and the index have been read, which begins when it runs.
func (c CompletedConfig) New() (*Server, error) {
	generic, err := c.generic.New(Name, genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("create generic server: %w", err)
	}
	views := registry.New(registry.Dependencies{
		Index:             c.index,
		Clients:           c.extra.Clients,
		Clock:             c.extra.Clock,
		AccessReady:       c.accessReady,
		MaxWatchesPerUser: c.extra.MaxWatchesPerUser,
	})
	group := genericapiserver.NewDefaultAPIGroupInfo(v1alpha1.GroupName, Scheme, metav1.ParameterCodec, Codecs)
	storage := map[string]rest.Storage{}
	for _, v := range views {
		storage[v.Resource] = v.Storage
	}
	group.VersionedResourcesStorageMap[v1alpha1.SchemeGroupVersion.Version] = storage
	if err := generic.InstallAPIGroup(&group); err != nil {
		return nil, fmt.Errorf("install %s: %w", v1alpha1.SchemeGroupVersion, err)
	}
	s := &Server{
		generic:     generic,
		client:      c.extra.Clients.Kubernetes,
		lease:       &lease{client: c.extra.Clients.Kubernetes, clock: c.extra.Clock},
		accessFeeds: c.feeds,
		accessReady: c.accessReady,
		views:       views,
	}
	if err := s.addChecks(c.guard); err != nil {
		return nil, err
	}
	metrics.Register(stateOf(s.feeds(), views))
	return s, generic.AddPostStartHook("start-feeds", s.startFeeds)
}

// Run serves until the context is done, and then as long as the shutdown
// settings of the generic server say.
func (s *Server) Run(ctx context.Context) error {
	return s.generic.PrepareRun().RunWithContext(ctx)
}

// addChecks makes readiness depend on every feed, a server that has not read, or
// no longer hears from, the API server must not be asked, and on a configuration
// under which it can trust whom the API server speaks for. The feeds of optional
// views do not count: they depend on what others install, a conversion webhook for
// example, and while they are not current those views alone answer 503.
func (s *Server) addChecks(guard requestHeaderGuard) error {
	checks := []healthz.HealthChecker{
		healthz.NamedCheck("request-header", func(*http.Request) error { return guard.ready() }),
		healthz.NamedCheck("lease", s.lease.check),
	}
	required := slices.Clone(s.accessFeeds)
	for _, v := range s.views {
		if !v.Feed.Optional() {
			required = append(required, v.Feed)
		}
	}
	for _, f := range required {
		checks = append(checks, healthz.NamedCheck("feed-"+f.Name(), func(*http.Request) error { return f.Check() }))
	}
	if err := s.generic.AddReadyzChecks(checks...); err != nil {
		return fmt.Errorf("add readiness checks: %w", err)
	}
	return nil
}

func (s *Server) feeds() []*feed.Feed {
	feeds := slices.Clone(s.accessFeeds)
	for _, v := range s.views {
		feeds = append(feeds, v.Feed)
	}
	return feeds
}

// startFeeds runs the feeds until the server stops: after it has drained, if it
// sends Retry-After while it does (--shutdown-send-retry-after, the default).
func (s *Server) startFeeds(hook genericapiserver.PostStartHookContext) error {
	go warnOfNewerCluster(hook, s.client.Discovery())
	for _, v := range s.views {
		go v.Guard(hook)
	}
	go s.runFeeds(hook)
	return nil
}

// accessPeriod is how often it is asked whether the index has been read.
const accessPeriod = 10 * time.Millisecond

// runFeeds starts the feeds: those of the views when the index is complete, so
// that the log of a view begins with the access that held then.
func (s *Server) runFeeds(ctx context.Context) {
	logger := klog.FromContext(ctx)
	s.lease.renew(ctx)
	logger.Info("Reading RBAC")
	for _, f := range s.accessFeeds {
		go f.Run(ctx)
	}
	err := wait.PollUntilContextCancel(ctx, accessPeriod, true, func(context.Context) (bool, error) { return s.accessReady() == nil, nil })
	if err != nil {
		return // the server stops
	}
	logger.Info("Reading the objects of the views", "views", len(s.views))
	for _, v := range s.views {
		go v.Feed.Run(ctx)
	}
}

func stateOf(feeds []*feed.Feed, views []registry.View) metrics.State {
	state := metrics.State{Lags: map[string]func() (time.Duration, bool){}, Objects: map[string]func() int{}, Watches: map[string]func() int{}}
	for _, f := range feeds {
		state.Lags[f.Name()] = f.Lag
	}
	for _, v := range views {
		state.Objects[v.Resource] = v.Objects
		state.Watches[v.Resource] = v.Watches
	}
	return state
}
