// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // for --logging-format=json
	"k8s.io/utils/clock"

	"tenancy.capsule.io/pkg/apiserver"
	"tenancy.capsule.io/pkg/registry"
)

// Defaults that differ from those of k8s.io/apiserver.
const (
	// Watches are ended one after the other within this time when the server stops.
	watchTermination = 10 * time.Second
	// All feeds share this client.
	clientQPS, clientBurst = 50, 100
	// A thousand watches take some 60 MiB of this server, see the README.
	maxWatchesPerUser = 200
)

// Options are the flags of tenancy-apiserver.
type Options struct {
	Run            *genericoptions.ServerRunOptions
	SecureServing  *genericoptions.SecureServingOptionsWithLoopback
	Authentication *genericoptions.DelegatingAuthenticationOptions
	Authorization  *genericoptions.DelegatingAuthorizationOptions
	Audit          *genericoptions.AuditOptions
	Logging        *logs.Options

	// Kubeconfig is the file to reach the API server with; empty in a cluster.
	Kubeconfig                string
	AllowAnyRequestHeaderName bool
	MaxWatchesPerUser         int
	Profiling                 bool
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	o := &Options{
		Run:            genericoptions.NewServerRunOptions(),
		SecureServing:  genericoptions.NewSecureServingOptions().WithLoopback(),
		Authentication: genericoptions.NewDelegatingAuthenticationOptions(),
		Authorization:  genericoptions.NewDelegatingAuthorizationOptions(),
		Audit:          genericoptions.NewAuditOptions(),
		Logging:        logs.NewOptions(),

		MaxWatchesPerUser: maxWatchesPerUser,
	}
	// Each initial event would be a gzip stream of its own: they are sent one by
	// one, and the API server takes them apart again.
	if gate := utilfeature.DefaultMutableFeatureGate; gate.Enabled(features.WatchListCompression) {
		utilruntime.Must(gate.OverrideDefault(features.WatchListCompression, false))
	}
	o.Run.ShutdownSendRetryAfter = true
	o.Run.ShutdownWatchTerminationGracePeriod = watchTermination
	o.SecureServing.BindPort = 6443
	// An aggregated server's one client is a proxy: few connections, many streams.
	o.SecureServing.HTTP2MaxStreamsPerConnection = 1000
	return o
}

// Flags returns the flags in named groups.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	fs := fss.FlagSet("tenancy")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Path to the kubeconfig to reach the API server with. Also used for delegated authentication and authorization unless they have a file of their own. Empty means the service account of the pod.")
	fs.BoolVar(&o.AllowAnyRequestHeaderName, "allow-any-requestheader-name", o.AllowAnyRequestHeaderName, "Start even if the cluster's requestheader-allowed-names is empty, under which every certificate of the request-header CA may speak for every user. Safe only if that CA signs front proxies and nothing else.")
	fs.IntVar(&o.MaxWatchesPerUser, "max-watches-per-user", o.MaxWatchesPerUser, "How many watches a user may have open on this server, of all views together. What goes beyond is answered with 429 and Retry-After. 0 means any number.")
	fs.BoolVar(&o.Profiling, "profiling", o.Profiling, "Serve profiles below /debug/pprof/.")
	o.Run.AddUniversalFlags(fss.FlagSet("generic"))
	o.SecureServing.AddFlags(fss.FlagSet("secure serving"))
	o.Authentication.AddFlags(fss.FlagSet("authentication"))
	o.Authorization.AddFlags(fss.FlagSet("authorization"))
	o.Audit.AddFlags(fss.FlagSet("audit log"))
	logsapi.AddFlags(o.Logging, fss.FlagSet("logs"))
	return fss
}

// Complete sets what follows from other flags.
func (o *Options) Complete() {
	if o.Authentication.RemoteKubeConfigFile == "" {
		o.Authentication.RemoteKubeConfigFile = o.Kubeconfig
	}
	if o.Authorization.RemoteKubeConfigFile == "" {
		o.Authorization.RemoteKubeConfigFile = o.Kubeconfig
	}
}

// Validate returns everything that is wrong with the flags.
func (o *Options) Validate() error {
	errs := o.Run.Validate()
	errs = append(errs, o.SecureServing.Validate()...)
	errs = append(errs, o.Authentication.Validate()...)
	errs = append(errs, o.Authorization.Validate()...)
	errs = append(errs, o.Audit.Validate()...)
	if o.SecureServing.BindPort == 0 {
		errs = append(errs, errors.New("--secure-port must not be 0: the API server can reach this server by TLS only"))
	}
	if o.MaxWatchesPerUser < 0 {
		errs = append(errs, fmt.Errorf("--max-watches-per-user must not be negative, is %d: 0 means any number", o.MaxWatchesPerUser))
	}
	if o.AllowAnyRequestHeaderName && len(o.Authentication.RequestHeader.AllowedNames) > 0 {
		errs = append(errs, errors.New("--allow-any-requestheader-name contradicts --requestheader-allowed-names: give one of them"))
	}
	if len(o.Authentication.RequestHeader.AllowedNames) > 0 && o.Authentication.RequestHeader.ClientCAFile == "" {
		errs = append(errs, errors.New("--requestheader-allowed-names needs --requestheader-client-ca-file: without it the cluster's own names count and these do not"))
	}
	if o.Authentication.SkipInClusterLookup && o.Authentication.RequestHeader.ClientCAFile == "" {
		errs = append(errs, errors.New("--authentication-skip-lookup needs --requestheader-client-ca-file: without either the API server could not pass users on"))
	}
	return errors.Join(errs...)
}

// Config returns the server's configuration.
func (o *Options) Config() (*apiserver.Config, error) {
	if err := o.SecureServing.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, fmt.Errorf("create self-signed certificate: %w", err)
	}
	generic := apiserver.NewGenericConfig()
	for _, apply := range []func(*genericapiserver.Config) error{
		o.Run.ApplyTo,
		func(c *genericapiserver.Config) error {
			return o.SecureServing.ApplyTo(&c.SecureServing, &c.LoopbackClientConfig)
		},
		func(c *genericapiserver.Config) error {
			return o.Authentication.ApplyTo(&c.Authentication, c.SecureServing, c.OpenAPIConfig)
		},
		func(c *genericapiserver.Config) error { return o.Authorization.ApplyTo(&c.Authorization) },
		o.Audit.ApplyTo,
	} {
		if err := apply(generic); err != nil {
			return nil, err
		}
	}
	generic.EnableProfiling = o.Profiling
	clients, err := o.clients()
	if err != nil {
		return nil, err
	}
	return &apiserver.Config{
		Generic: generic,
		Extra: apiserver.ExtraConfig{
			Clients:                   clients,
			Clock:                     clock.RealClock{},
			AllowAnyRequestHeaderName: o.AllowAnyRequestHeaderName,
			MaxWatchesPerUser:         o.MaxWatchesPerUser,
		},
	}, nil
}

// clients returns the clients that read objects and RBAC, in protobuf where there is one.
func (o *Options) clients() (registry.Clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return registry.Clients{}, fmt.Errorf("load kubeconfig: %w", err)
	}
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.QPS, config.Burst = clientQPS, clientBurst
	config.UserAgent = rest.DefaultKubernetesUserAgent()
	return registry.NewClients(config)
}
