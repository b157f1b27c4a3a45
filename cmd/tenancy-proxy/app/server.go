// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"tenancy.capsule.io/pkg/proxy"
)

const (
	// readHeaderTimeout is as long as the API server takes, see
	// k8s.io/apiserver/pkg/server/secure_serving.go.
	readHeaderTimeout = 32 * time.Second
	// idleTimeout is how long a connection is kept for the next request, as there.
	idleTimeout = 90 * time.Second
	// drainTimeout is how long requests that have an end may take to it when the proxy
	// stops.
	drainTimeout = 30 * time.Second
	// decisionsFor is how long it is remembered whom a user may impersonate.
	decisionsFor = 10 * time.Second
	// firstBackoff is how long is waited after the API server could not say so.
	firstBackoff = 500 * time.Millisecond

	// healthPath answers on the port that is served, beside what is passed on.
	healthPath = "/_healthz"
)

// server is everything that the process serves, and what keeps it up to date.
type server struct {
	listening *http.Server
	// beside serve for whom operates the proxy, by plain HTTP.
	beside []*http.Server
	// background runs until the context is done.
	background []func(context.Context) error
}

// newServer returns a server that does not run yet.
func newServer(o *Options) (*server, error) {
	upstream, err := o.upstream()
	if err != nil {
		return nil, err
	}
	s := &server{}
	c := proxy.Config{
		Upstream: upstream, Clock: clock.RealClock{},
		IgnoredUsers: o.IgnoredUsernames, IgnoredGroups: o.IgnoredUserGroups,
	}
	if c.ImpersonatedGroups, err = o.impersonatedGroups(); err != nil {
		return nil, err
	}
	for _, name := range o.AuthTypes {
		c.AuthTypes = append(c.AuthTypes, proxy.AuthType(name))
	}
	if c.Certificates, err = s.certificates(o, upstream); err != nil {
		return nil, fmt.Errorf("accept client certificates: %w", err)
	}
	p, err := proxy.New(c)
	if err != nil {
		return nil, err
	}
	process := []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, collector := range append(process, p.Collectors()...) {
		if err := metrics.Registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	s.listening = newHTTPServer(net.JoinHostPort(o.BindAddress, strconv.Itoa(o.ListeningPort)), besideHealth(p))
	if o.EnableSSL {
		if s.listening.TLSConfig, err = s.tlsConfig(o, c.Certificates != nil); err != nil {
			return nil, err
		}
	}
	if o.MetricsAddress != noAddress {
		mux := http.NewServeMux()
		mux.Handle("/metrics", promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
		s.beside = append(s.beside, newHTTPServer(o.MetricsAddress, mux))
	}
	if o.HealthAddress != noAddress {
		mux := http.NewServeMux()
		mux.HandleFunc("/healthz", ok)
		mux.HandleFunc("/readyz", ok)
		s.beside = append(s.beside, newHTTPServer(o.HealthAddress, mux))
	}
	return s, nil
}

func newHTTPServer(address string, handler http.Handler) *http.Server {
	return &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout}
}

// besideHealth serves what a proxy does, and beside it whether there is one. It is no mux:
// that would send clients of a path such as "//" elsewhere, which the API server has to judge.
func besideHealth(p http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == healthPath {
			ok(w, req)
			return
		}
		p.ServeHTTP(w, req)
	})
}

func ok(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok"))
}

// upstream returns how to reach the API server.
func (o *Options) upstream() (*rest.Config, error) {
	var c *rest.Config
	var err error
	if o.Kubeconfig != "" {
		c, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	} else {
		c, err = config.GetConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	c.UserAgent = rest.DefaultKubernetesUserAgent()
	return c, nil
}

// certificates returns whose client certificates are accepted, or nil if nobody's are.
func (s *server) certificates(o *Options, upstream *rest.Config) (*proxy.Certificates, error) {
	if !o.acceptsCertificates() {
		return nil, nil
	}
	client, err := kubernetes.NewForConfig(upstream)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	var ca interface {
		dynamiccertificates.CAContentProvider
		dynamiccertificates.ControllerRunner
	}
	if o.ClientCAFile == fromCluster {
		ca, err = dynamiccertificates.NewDynamicCAFromConfigMapController("client-ca", "kube-system", "extension-apiserver-authentication", "client-ca-file", client)
	} else {
		ca, err = dynamiccertificates.NewDynamicCAContentFromFile("client-ca", o.ClientCAFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	s.background = append(s.background, func(ctx context.Context) error {
		// Until it is read nobody is accepted, and it is read until it is there.
		if err := ca.RunOnce(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "The CA of client certificates cannot be read yet")
		}
		ca.Run(ctx, 1)
		return nil
	})
	authorizer, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             decisionsFor,
		DenyCacheTTL:              decisionsFor,
		WebhookRetryBackoff:       new(webhook.DefaultRetryBackoffWithInitialDelay(firstBackoff)),
	}.New()
	if err != nil {
		return nil, fmt.Errorf("create authorizer: %w", err)
	}
	return &proxy.Certificates{
		Authenticator: x509request.NewDynamic(ca.VerifyOptions, x509request.CommonNameUserConversion),
		Authorizer:    authorizer,
		AllowSystem:   o.AllowSystem,
	}, nil
}

// tlsConfig returns how TLS is served.
func (s *server) tlsConfig(o *Options, certificates bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if certificates {
		// The proxy looks at them, request by request, by a CA that may change.
		c.ClientAuth = tls.RequestClientCert
	}
	if o.CertPath != "" {
		watcher, err := certwatcher.New(o.CertPath, o.KeyPath)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		s.background = append(s.background, watcher.Start)
		c.GetCertificate = watcher.GetCertificate
		return c, nil
	}
	var addresses []net.IP
	names := []string{}
	for _, name := range o.AdditionalSANs {
		if ip := net.ParseIP(name); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, name)
		}
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", append(addresses, net.IPv4(127, 0, 0, 1), net.IPv6loopback), names)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	klog.Background().Info("Serving a self-signed certificate, which nobody trusts: give --ssl-cert-path and --ssl-key-path", "names", append(names, "localhost"))
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// run serves until the context is done, and then what has begun to its end.
func (s *server) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range s.background {
		group.Go(func() error { return run(ctx) })
	}
	for _, each := range append([]*http.Server{s.listening}, s.beside...) {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", each.Addr)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		klog.FromContext(ctx).Info("Serving", "address", listener.Addr().String(), "tls", each.TLSConfig != nil)
		group.Go(func() error {
			var err error
			if each.TLSConfig != nil {
				err = each.ServeTLS(listener, "", "")
			} else {
				err = each.Serve(listener)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", each.Addr, err)
		})
		group.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
			defer cancel()
			if err := each.Shutdown(drain); err != nil {
				return errors.Join(err, each.Close())
			}
			return nil
		})
	}
	return group.Wait()
}
