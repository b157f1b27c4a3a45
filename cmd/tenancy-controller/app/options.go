// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // for --logging-format=json

	"tenancy.capsule.io/pkg/controller"
	"tenancy.capsule.io/pkg/controller/provisioner"
)

const (
	// defaultNamespace is where the manifests put the controller.
	defaultNamespace = "tenancy-system"
	// namespaceFile says in a pod which namespace it is in.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

	// noAddress is an address at which nothing is served.
	noAddress = "0"
	// unlimited is client-go's word for it.
	unlimited = -1
)

// Options are the flags of tenancy-controller.
type Options struct {
	Logging *logs.Options

	// Kubeconfig is the file to reach the API server with; empty in a cluster.
	Kubeconfig string
	QPS        float32
	Burst      int

	Controllers            []string
	CompileWriteOperations bool
	ConfigurationName      string
	Namespace              string

	LeaderElect    bool
	LeaderElection controller.LeaderElection

	Webhooks    bool
	WebhookHost string
	WebhookPort int
	CertDir     string
	// WebhookClientCAFile is empty if whoever reaches the webhooks may ask them.
	WebhookClientCAFile string
	CertificateSecret   string
	ShutdownDelay       time.Duration

	MetricsAddress   string
	MetricsSecure    bool
	HealthAddress    string
	ProfilingAddress string

	// namespaceFile is another one in tests.
	namespaceFile string
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		Logging:                logs.NewOptions(),
		Controllers:            []string{"*"},
		CompileWriteOperations: true,
		ConfigurationName:      "default",
		LeaderElect:            true,
		LeaderElection: controller.LeaderElection{
			LeaseDuration: 15 * time.Second,
			RenewDeadline: 10 * time.Second,
			RetryPeriod:   2 * time.Second,
		},
		Webhooks:       true,
		WebhookPort:    9443,
		MetricsAddress: ":8443",
		MetricsSecure:  true,
		HealthAddress:  ":8081",
		namespaceFile:  namespaceFile,
	}
}

// Flags returns the flags in named groups.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	fs := fss.FlagSet("tenancy")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Path to the kubeconfig to reach the API server with. Empty means the service account of the pod.")
	fs.Float32Var(&o.QPS, "kube-api-qps", o.QPS, "Requests a second to the API server, in the long run. 0 leaves it to the API server to limit them.")
	fs.IntVar(&o.Burst, "kube-api-burst", o.Burst, "Requests at once to the API server, where --kube-api-qps limits them.")
	fs.StringSliceVar(&o.Controllers, "controllers", o.Controllers, fmt.Sprintf("What to reconcile: '*' is everything, 'x' is x, '-x' is not x. Beside an installed Capsule operator, 'access' alone is right. Known: %s.", strings.Join(controller.Names(), ", ")))
	fs.BoolVar(&o.CompileWriteOperations, "compile-write-operations", o.CompileWriteOperations, "Compile the operations Update and Delete of proxySettings to rights. Without, they give nothing, and what was compiled of them is taken back.")
	fs.StringVar(&o.ConfigurationName, "configuration-name", o.ConfigurationName, "Name of the CapsuleConfiguration that counts. With another name than the default, set spec.paramRef.name of the ValidatingAdmissionPolicyBinding tenancy-cordoned to it, too.")
	fs.StringVar(&o.Namespace, "namespace", o.Namespace, "Namespace of the controller, in which its Service and its Secret are. Defaults to that of the pod, and where there is none to "+defaultNamespace+".")

	fs = fss.FlagSet("leader election")
	fs.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "Let one of several replicas write, by the Lease "+controller.Name+". Without, there must not be two.")
	fs.StringVar(&o.LeaderElection.Namespace, "leader-election-namespace", o.LeaderElection.Namespace, "Namespace of the Lease. Defaults to --namespace.")
	fs.DurationVar(&o.LeaderElection.LeaseDuration, "leader-elect-lease-duration", o.LeaderElection.LeaseDuration, "How long the others wait for a leader that they do not hear of before one takes over. A leader that stops in order gives the Lease back.")
	fs.DurationVar(&o.LeaderElection.RenewDeadline, "leader-elect-renew-deadline", o.LeaderElection.RenewDeadline, "How long a leader tries to renew the Lease before it ends. Less than --leader-elect-lease-duration.")
	fs.DurationVar(&o.LeaderElection.RetryPeriod, "leader-elect-retry-period", o.LeaderElection.RetryPeriod, "How often the Lease is renewed, or asked for.")

	fs = fss.FlagSet("webhooks")
	fs.BoolVar(&o.Webhooks, "webhooks", o.Webhooks, "Serve the webhooks, and the conversion of Tenants. False beside an installed Capsule operator, which has its own.")
	fs.StringVar(&o.WebhookHost, "webhook-bind-address", o.WebhookHost, "Address to serve webhooks at. Empty means all of them.")
	fs.IntVar(&o.WebhookPort, "webhook-port", o.WebhookPort, "Port to serve webhooks at.")
	fs.StringVar(&o.WebhookClientCAFile, "webhook-client-ca-file", o.WebhookClientCAFile, "File of the CA of the certificates that API servers show to webhooks, read at the start. Without it whoever reaches the port is answered: an API server shows a certificate only if its --admission-control-config-file says so.")
	fs.StringVar(&o.CertDir, "webhook-cert-dir", o.CertDir, "Directory of tls.crt and tls.key, which may appear and change at any time. With --certificate-secret the controller writes them; without, somebody else does, such as kubelet of a Secret of cert-manager's.")
	fs.StringVar(&o.CertificateSecret, "certificate-secret", o.CertificateSecret, "Name of a Secret in --namespace in which the controller makes and renews a CA and a certificate, for its own Service and that of tenancy-apiserver. It writes the CA into the webhook configurations (with --webhooks), the CustomResourceDefinition of Tenants (likewise) and the APIService. The Secret has to exist.")
	fs.DurationVar(&o.ShutdownDelay, "shutdown-delay-duration", o.ShutdownDelay, "How long webhooks are still served after the signal to stop, while /readyz fails: what it takes until no API server asks this replica any more.")

	fs = fss.FlagSet("metrics and health")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", o.MetricsAddress, "Address of /metrics. 0 serves none.")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", o.MetricsSecure, "Serve metrics by TLS, to whom the cluster allows to get /metrics: they name tenants and namespaces. Without, to everybody who reaches the address, by plain HTTP.")
	fs.StringVar(&o.HealthAddress, "health-probe-bind-address", o.HealthAddress, "Address of /healthz and /readyz, by plain HTTP. 0 serves neither.")
	fs.StringVar(&o.ProfilingAddress, "profiling-bind-address", o.ProfilingAddress, "Address of /debug/pprof/, by plain HTTP. Empty serves none.")

	logsapi.AddFlags(o.Logging, fss.FlagSet("logs"))
	return fss
}

// Complete sets what follows from where the process runs and from other flags.
func (o *Options) Complete() error {
	if o.Namespace == "" {
		data, err := os.ReadFile(o.namespaceFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			o.Namespace = defaultNamespace
		case err != nil:
			return fmt.Errorf("find own namespace: %w", err)
		default:
			o.Namespace = strings.TrimSpace(string(data))
		}
	}
	if o.LeaderElection.Namespace == "" {
		o.LeaderElection.Namespace = o.Namespace
	}
	return nil
}

// Validate returns everything that is wrong with the flags.
func (o *Options) Validate() error {
	var errs []error
	selected, err := controller.Select(o.Controllers)
	if err != nil {
		errs = append(errs, fmt.Errorf("--controllers: %w", err))
	}
	if o.Webhooks && len(selected) == 1 && selected[0] == controller.Access {
		errs = append(errs, errors.New("--controllers=access is for a cluster in which another operator has the Tenants, and the webhooks: add --webhooks=false"))
	}
	if !o.Webhooks && slices.Contains(selected, provisioner.Name) {
		errs = append(errs, fmt.Errorf("--webhooks=false with the controller %s gives capsule users the right to change every namespace, and nobody judges what they do: "+
			"add --controllers=*,-%s", provisioner.Name, provisioner.Name))
	}
	if o.WebhookClientCAFile != "" && !o.Webhooks {
		errs = append(errs, errors.New("--webhook-client-ca-file needs --webhooks"))
	}
	if o.Webhooks && o.CertDir == "" {
		errs = append(errs, errors.New("--webhooks needs --webhook-cert-dir: the API server calls webhooks by TLS only"))
	}
	if o.CertificateSecret != "" && o.CertDir == "" {
		errs = append(errs, errors.New("--certificate-secret needs --webhook-cert-dir, to write the certificate to"))
	}
	if o.Webhooks && (o.WebhookPort < 1 || o.WebhookPort > 65535) {
		errs = append(errs, fmt.Errorf("--webhook-port %d is not a port", o.WebhookPort))
	}
	if o.QPS < 0 {
		errs = append(errs, fmt.Errorf("--kube-api-qps must not be negative, is %v: 0 means no limit", o.QPS))
	}
	if o.Burst < 0 {
		errs = append(errs, fmt.Errorf("--kube-api-burst must not be negative, is %d", o.Burst))
	}
	if o.Burst > 0 && o.QPS == 0 {
		errs = append(errs, errors.New("--kube-api-burst limits nothing without --kube-api-qps"))
	}
	if o.ShutdownDelay < 0 {
		errs = append(errs, fmt.Errorf("--shutdown-delay-duration must not be negative, is %v", o.ShutdownDelay))
	}
	if l := o.LeaderElection; o.LeaderElect && (l.RetryPeriod <= 0 || l.RenewDeadline <= l.RetryPeriod*6/5 || l.LeaseDuration <= l.RenewDeadline) {
		errs = append(errs, errors.New("--leader-elect-lease-duration has to be longer than --leader-elect-renew-deadline, and that 1.2 times as long as --leader-elect-retry-period"))
	}
	for flag, name := range map[string]string{"--namespace": o.Namespace, "--leader-election-namespace": o.LeaderElection.Namespace} {
		for _, message := range validation.IsDNS1123Label(name) {
			errs = append(errs, fmt.Errorf("%s %q: %s", flag, name, message))
		}
	}
	for _, message := range validation.IsDNS1123Subdomain(o.ConfigurationName) {
		errs = append(errs, fmt.Errorf("--configuration-name %q: %s", o.ConfigurationName, message))
	}
	if o.CertificateSecret != "" {
		for _, message := range validation.IsDNS1123Subdomain(o.CertificateSecret) {
			errs = append(errs, fmt.Errorf("--certificate-secret %q: %s", o.CertificateSecret, message))
		}
	}
	return errors.Join(errs...)
}

// Config returns the controller's configuration.
func (o *Options) Config() (*controller.Config, error) {
	client, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	client.UserAgent = rest.DefaultKubernetesUserAgent()
	client.QPS, client.Burst = unlimited, o.Burst
	if o.QPS > 0 {
		client.QPS = o.QPS
	}
	selected, err := controller.Select(o.Controllers)
	if err != nil {
		return nil, err
	}
	config := &controller.Config{
		Client:                 client,
		Controllers:            selected,
		CompileWriteOperations: o.CompileWriteOperations,
		ConfigurationName:      o.ConfigurationName,
		Namespace:              o.Namespace,
		CertDir:                o.CertDir,
		WebhookClientCAFile:    o.WebhookClientCAFile,
		CertificateSecret:      o.CertificateSecret,
		ShutdownDelay:          o.ShutdownDelay,
		MetricsAddress:         o.MetricsAddress,
		MetricsSecure:          o.MetricsSecure && o.MetricsAddress != noAddress,
		HealthAddress:          o.HealthAddress,
		ProfilingAddress:       o.ProfilingAddress,
	}
	if o.LeaderElect {
		config.LeaderElection = &o.LeaderElection
	}
	if o.Webhooks {
		config.Webhooks = &controller.Address{Host: o.WebhookHost, Port: o.WebhookPort}
	}
	return config, nil
}
