// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // for --logging-format=json

	"tenancy.capsule.io/pkg/proxy"
)

// fromCluster says that the client CA is that of the API server.
const fromCluster = "cluster"

// Options are the flags of tenancy-proxy. Most have the names and the meaning that they
// have with capsule-proxy.
type Options struct {
	Logging *logs.Options

	Kubeconfig string

	BindAddress       string
	ListeningPort     int
	EnableSSL         bool
	CertPath, KeyPath string
	AdditionalSANs    []string
	MetricsAddress    string
	HealthAddress     string
	AuthTypes         []string
	ClientCAFile      string
	AllowSystem       bool
	IgnoredUserGroups []string
	IgnoredUsernames  []string
	// Expressions that are not anchored.
	OnlyImpersonatedGroups    string
	IgnoredImpersonatedGroups []string
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		Logging:        logs.NewOptions(),
		ListeningPort:  9001,
		EnableSSL:      true,
		MetricsAddress: ":8080",
		HealthAddress:  ":8081",
		AuthTypes:      []string{string(proxy.BearerToken), string(proxy.TLSCertificate)},
		ClientCAFile:   fromCluster,
	}
}

// Flags returns the flags in named groups.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	fs := fss.FlagSet("serving")
	fs.StringVar(&o.BindAddress, "bind-address", o.BindAddress, "Address to serve at. Empty means all of them.")
	fs.IntVar(&o.ListeningPort, "listening-port", o.ListeningPort, "Port to serve at.")
	fs.BoolVar(&o.EnableSSL, "enable-ssl", o.EnableSSL, "Serve by TLS. Without, only callers with bearer tokens are known, and who can read the traffic has their tokens.")
	fs.StringVar(&o.CertPath, "ssl-cert-path", o.CertPath, "File of the certificate, in PEM, read again when it changes. Without it, and --ssl-key-path, the proxy makes a self-signed one at its start.")
	fs.StringVar(&o.KeyPath, "ssl-key-path", o.KeyPath, "File of the private key of --ssl-cert-path, in PEM.")
	fs.StringSliceVar(&o.AdditionalSANs, "tls-additional-sans", o.AdditionalSANs, "Names and addresses of a self-signed certificate, beside localhost.")
	fs.StringVar(&o.MetricsAddress, "metrics-addr", o.MetricsAddress, "Address of /metrics, by plain HTTP. 0 serves none.")
	fs.StringVar(&o.HealthAddress, "health-probe-bind-address", o.HealthAddress, "Address of /healthz and /readyz, by plain HTTP. 0 serves neither.")

	fs = fss.FlagSet("callers")
	fs.StringSliceVar(&o.AuthTypes, "auth-preferred-types", o.AuthTypes, "What callers may come with, "+string(proxy.BearerToken)+" and "+string(proxy.TLSCertificate)+": the first of them that a request has counts, and one that has others alone gets a 401.")
	fs.StringVar(&o.ClientCAFile, "client-ca-file", o.ClientCAFile, "File of the CA of client certificates, read again when it changes, or \""+fromCluster+"\" for that of the API server, from the ConfigMap extension-apiserver-authentication in kube-system. The proxy asks for who comes with one by impersonation, and needs the right to. Empty, and plain HTTP, accept none.")
	fs.BoolVar(&o.AllowSystem, "allow-system-certificates", o.AllowSystem, "Accept client certificates of users and groups whose names begin with \"system:\", system:masters among them.")
	fs.StringSliceVar(&o.IgnoredUserGroups, "ignored-user-group", o.IgnoredUserGroups, "Groups for whose members no view is asked: they get what the API server answers. The API server is asked for the groups of who comes with a token.")
	fs.StringSliceVar(&o.IgnoredUsernames, "ignored-username", o.IgnoredUsernames, "Users for whom no view is asked.")

	fs.StringVar(&o.OnlyImpersonatedGroups, "impersonation-group-regexp", o.OnlyImpersonatedGroups, "Regular expression, not anchored, for the groups that stay in a request with Impersonate-Group headers. The others are dropped from it. Empty drops none.")
	fs.StringSliceVar(&o.IgnoredImpersonatedGroups, "ignored-impersonation-group", o.IgnoredImpersonatedGroups, "Regular expressions, not anchored, for groups that are dropped from such a request.")

	fs = fss.FlagSet("upstream")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Path to a kubeconfig that says where the API server is. Empty means the file that KUBECONFIG names, then the cluster that the pod is in, then $HOME/.kube/config.")

	addNeedless(fss.FlagSet("needless"))
	logsapi.AddFlags(o.Logging, fss.FlagSet("logs"))
	return fss
}

// impersonatedGroups returns which groups stay in requests, and everything that is wrong
// with the expressions.
func (o *Options) impersonatedGroups() (f proxy.GroupFilter, err error) {
	compile := func(flag, expression string) *regexp.Regexp {
		compiled, compileErr := regexp.Compile(expression)
		if compileErr != nil {
			err = errors.Join(err, fmt.Errorf("--%s %q: %w", flag, expression, compileErr))
		}
		return compiled
	}
	if o.OnlyImpersonatedGroups != "" {
		f.Only = compile("impersonation-group-regexp", o.OnlyImpersonatedGroups)
	}
	for _, expression := range o.IgnoredImpersonatedGroups {
		f.Except = append(f.Except, compile("ignored-impersonation-group", expression))
	}
	return f, err
}

// addNeedless adds flags of capsule-proxy that have nothing to say here. They are taken,
// so that what passes them need not change, and warned of.
func addNeedless(fs *pflag.FlagSet) {
	const (
		tokens   = "the API server knows what its tokens say" //nolint:gosec // no token
		rbac     = "what callers see follows from the cluster's RBAC, which tenancy-apiserver reads"
		requests = "the proxy has no requests of its own to limit"
		state    = "the proxy keeps nothing that replicas would have to agree on, or that would be read from a cache"
		logs     = "see --v and --logging-format"
	)
	const none = "Has no effect."
	for name, reason := range map[string]string{
		"capsule-configuration-name": rbac,
		"capsule-user-group":         rbac,
		"oidc-username-claim":        tokens,
		"rolebindings-resync-period": rbac,
		"client-connection-qps":      requests,
		"client-connection-burst":    requests,
		"allowed-paths":              "every path is passed on",
		"webhook-port":               "the proxy has no webhooks",
		"zap-encoder":                logs,
		"zap-log-level":              logs,
		"zap-stacktrace-level":       logs,
		"zap-time-encoding":          logs,
	} {
		fs.String(name, "", none)
		deprecate(fs, name, reason)
	}
	for name, reason := range map[string]string{
		"enable-leader-election": state,
		"disable-caching":        state,
		"enable-reflector":       rbac,
		"zap-devel":              logs,
	} {
		fs.Bool(name, false, none)
		deprecate(fs, name, reason)
	}
}

func deprecate(fs *pflag.FlagSet, name, reason string) {
	if err := fs.MarkDeprecated(name, "it has no effect: "+reason); err != nil {
		panic(err)
	}
}

// Validate returns everything that is wrong with the flags.
func (o *Options) Validate() error {
	var errs []error
	if o.ListeningPort < 1 || o.ListeningPort > 65535 {
		errs = append(errs, fmt.Errorf("--listening-port %d is not a port", o.ListeningPort))
	}
	if (o.CertPath == "") != (o.KeyPath == "") {
		errs = append(errs, errors.New("--ssl-cert-path and --ssl-key-path need each other"))
	}
	if !o.EnableSSL {
		for flag, set := range map[string]bool{
			"--ssl-cert-path": o.CertPath != "", "--tls-additional-sans": len(o.AdditionalSANs) > 0, "--client-ca-file": o.ClientCAFile != "" && o.ClientCAFile != fromCluster,
		} {
			if set {
				errs = append(errs, fmt.Errorf("%s needs --enable-ssl", flag))
			}
		}
	}
	if o.CertPath != "" && len(o.AdditionalSANs) > 0 {
		errs = append(errs, errors.New("--tls-additional-sans is of a self-signed certificate: leave out --ssl-cert-path, or have that certificate name them"))
	}
	for _, name := range o.AuthTypes {
		if !slices.Contains([]string{string(proxy.BearerToken), string(proxy.TLSCertificate)}, name) {
			errs = append(errs, fmt.Errorf("--auth-preferred-types %q: known are %s and %s", name, proxy.BearerToken, proxy.TLSCertificate))
		}
	}
	if _, err := o.impersonatedGroups(); err != nil {
		errs = append(errs, err)
	}
	if o.AllowSystem && !o.acceptsCertificates() {
		errs = append(errs, errors.New("--allow-system-certificates needs client certificates: --client-ca-file and --enable-ssl"))
	}
	for flag, address := range map[string]string{"--metrics-addr": o.MetricsAddress, "--health-probe-bind-address": o.HealthAddress} {
		if address == noAddress {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", flag, address, err))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// acceptsCertificates reports whether callers may come with client certificates.
func (o *Options) acceptsCertificates() bool {
	return o.EnableSSL && o.ClientCAFile != "" && slices.Contains(o.AuthTypes, string(proxy.TLSCertificate))
}

// noAddress is an address at which nothing is served.
const noAddress = "0"
