// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	policyv1alpha1 "tenancy.capsule.io/apis/policy/v1alpha1"
	"tenancy.capsule.io/pkg/controller/certificates"
	"tenancy.capsule.io/pkg/controller/objects"
	"tenancy.capsule.io/pkg/controller/owners"
	"tenancy.capsule.io/pkg/controller/quotas/ledger"
)

// Manager is a controller. It is used once.
type Manager struct {
	manager       ctrl.Manager
	shutdownDelay time.Duration
	// stopping is closed by Run when its context ends.
	stopping chan struct{}
}

// New returns a controller that is not running yet. It reads from the API server
// which kinds there are.
func New(ctx context.Context, c Config) (*Manager, error) {
	options, err := c.managerOptions()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(c.Client, options)
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	m := &Manager{manager: mgr, stopping: make(chan struct{})}
	if err := objects.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	if c.LeaderElection != nil {
		if err := metrics.Registry.Register(&leaseAge{
			reader: mgr.GetAPIReader(), key: client.ObjectKey{Namespace: c.LeaderElection.Namespace, Name: Name}, clock: clock.RealClock{},
		}); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	if c.CertificateSecret != "" {
		if err := certificates.Add(mgr, c.certificates()); err != nil {
			return nil, fmt.Errorf("add certificates: %w", err)
		}
	}
	resolver, err := owners.ForManager(ctx, mgr, c.ConfigurationName)
	if err != nil {
		return nil, err
	}
	reports := newReports()
	for _, r := range reconcilers() {
		if !slices.Contains(c.Controllers, r.name) {
			continue
		}
		if err := r.add(mgr, c, resolver, reports); err != nil {
			return nil, fmt.Errorf("add controller %s: %w", r.name, err)
		}
	}
	if c.Webhooks != nil {
		m.shutdownDelay = c.ShutdownDelay
		if err := addWebhooks(ctx, mgr, c, resolver); err != nil {
			return nil, fmt.Errorf("add webhooks: %w", err)
		}
	}
	if err := m.addProbes(c.Webhooks != nil); err != nil {
		return nil, fmt.Errorf("add probes: %w", err)
	}
	return m, nil
}

// Run runs the controller until ctx is done and the shutdown delay is over. The
// process has to end then: another may lead.
func (m *Manager) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		close(m.stopping)
		if m.shutdownDelay > 0 {
			klog.FromContext(ctx).Info("Stopping after a delay", "delay", m.shutdownDelay)
		}
		time.AfterFunc(m.shutdownDelay, stop)
	})()
	return m.manager.Start(running)
}

// NewScheme returns the scheme of all kinds that the controller knows.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(
		clientgoscheme.AddToScheme(scheme), capsulev1beta1.AddToScheme(scheme), capsulev1beta2.AddToScheme(scheme),
		policyv1alpha1.AddToScheme(scheme),
	); err != nil {
		return nil, fmt.Errorf("make scheme: %w", err)
	}
	return scheme, nil
}

// managerOptions returns how the manager reads, serves and is elected.
func (c Config) managerOptions() (ctrl.Options, error) {
	scheme, err := NewScheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	options := ctrl.Options{
		Scheme:                 scheme,
		Logger:                 klog.Background(),
		Cache:                  objects.CacheOptions(),
		Metrics:                metricsserver.Options{BindAddress: c.MetricsAddress, SecureServing: c.MetricsSecure},
		HealthProbeBindAddress: c.HealthAddress,
		PprofBindAddress:       c.ProfilingAddress,
	}
	if l := c.LeaderElection; l != nil {
		options.LeaderElection, options.LeaderElectionNamespace, options.LeaderElectionID = true, l.Namespace, Name
		options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = &l.LeaseDuration, &l.RenewDeadline, &l.RetryPeriod
		// Another takes over at once where this one stops in order: main ends then.
		options.LeaderElectionReleaseOnCancel = true
	}
	if c.CertificateSecret != "" {
		c.certificates().AddToCache(&options.Cache)
	}
	if c.Webhooks != nil {
		ledger.AddToCache(&options.Cache, c.Namespace)
	}
	if c.MetricsSecure {
		options.Metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if c.CertDir != "" {
		serving := certificates.NewFiles(c.CertDir)
		withCertificate := []func(*tls.Config){func(t *tls.Config) {
			t.MinVersion = tls.VersionTLS12
			t.GetCertificate = serving.GetCertificate
		}}
		if c.MetricsSecure {
			options.Metrics.TLSOpts = withCertificate
		}
		if c.Webhooks != nil {
			opts := withCertificate
			if c.WebhookClientCAFile != "" {
				clients, err := cert.NewPool(c.WebhookClientCAFile)
				if err != nil {
					return ctrl.Options{}, fmt.Errorf("read the CA of the webhooks' clients: %w", err)
				}
				opts = append(opts, func(t *tls.Config) { t.ClientCAs, t.ClientAuth = clients, tls.RequireAndVerifyClientCert })
			}
			options.WebhookServer = webhook.NewServer(webhook.Options{Host: c.Webhooks.Host, Port: c.Webhooks.Port, TLSOpts: opts})
		}
	}
	return options, nil
}

func (c Config) certificates() certificates.Config {
	return certificates.Config{Namespace: c.Namespace, Secret: c.CertificateSecret, Dir: c.CertDir, Webhooks: c.Webhooks != nil}
}

// addProbes adds what says that the controller lives, and what says that it can be
// asked.
func (m *Manager) addProbes(webhooks bool) error {
	synced := make(chan struct{})
	probes := map[string]healthz.Checker{
		"shutdown": func(*http.Request) error {
			if isClosed(m.stopping) {
				return errors.New("stopping")
			}
			return nil
		},
		"caches": func(*http.Request) error {
			if !isClosed(synced) {
				return errors.New("not all caches are filled yet")
			}
			return nil
		},
	}
	if webhooks {
		probes["webhooks"] = m.manager.GetWebhookServer().StartedChecker()
	}
	errs := []error{
		m.manager.Add(afterSync(func() { close(synced) })),
		m.manager.AddHealthzCheck("ping", healthz.Ping),
	}
	for name, probe := range probes {
		errs = append(errs, m.manager.AddReadyzCheck(name, probe))
	}
	return errors.Join(errs...)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// afterSync is called in every replica, when the caches that are known at the start
// are filled.
type afterSync func()

var (
	_ manager.Runnable               = afterSync(nil)
	_ manager.LeaderElectionRunnable = afterSync(nil)
)

// Start implements manager.Runnable.
func (f afterSync) Start(ctx context.Context) error {
	f()
	<-ctx.Done()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (f afterSync) NeedLeaderElection() bool { return false }
