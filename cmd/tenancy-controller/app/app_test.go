// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	logsapi "k8s.io/component-base/logs/api/v1"

	"tenancy.capsule.io/pkg/controller"
)

func TestMain(m *testing.M) {
	// Logging is global and set once by a command; here, by many.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	os.Exit(m.Run())
}

func TestValidate(t *testing.T) {
	const certs = "--webhook-cert-dir=/tls"
	for name, test := range map[string]struct {
		args []string
		// want are parts of the messages, one message a line.
		want []string
	}{
		"as a mounted Secret has it":       {args: []string{certs}},
		"as it makes it itself":            {args: []string{certs, "--certificate-secret=tls"}},
		"no webhooks":                      {args: []string{"--webhooks=false", "--controllers=*,-provisioner"}},
		"nobody judges capsule users":      {args: []string{"--webhooks=false"}, want: []string{"nobody judges"}},
		"a CA that nobody asks for":        {args: []string{"--webhooks=false", "--controllers=access", "--webhook-client-ca-file=x"}, want: []string{"--webhook-client-ca-file needs --webhooks"}},
		"access beside an operator":        {args: []string{"--webhooks=false", "--controllers=access"}},
		"nothing":                          {want: []string{"--webhooks needs --webhook-cert-dir"}},
		"no place for the certificate":     {args: []string{"--webhooks=false", "--controllers=access", "--certificate-secret=tls"}, want: []string{"--certificate-secret needs --webhook-cert-dir"}},
		"webhooks beside an operator":      {args: []string{certs, "--controllers=access"}, want: []string{"add --webhooks=false"}},
		"the same, said otherwise":         {args: []string{certs, "--controllers=*,-configuration,-lifecycle,-namespaces,-provisioner,-quotas,-replication,-tenantowners,-tenants,-volumes"}, want: []string{"add --webhooks=false"}},
		"an unknown controller":            {args: []string{certs, "--controllers=nodes"}, want: []string{`--controllers: there is no controller "nodes": known are access,`}},
		"a port that is none":              {args: []string{certs, "--webhook-port=65536"}, want: []string{"--webhook-port 65536 is not a port"}},
		"a port that is not used":          {args: []string{"--webhooks=false", "--controllers=access", "--webhook-port=0"}},
		"a negative rate":                  {args: []string{certs, "--kube-api-qps=-1"}, want: []string{"--kube-api-qps"}},
		"a burst alone":                    {args: []string{certs, "--kube-api-burst=10"}, want: []string{"--kube-api-burst limits nothing"}},
		"a negative burst":                 {args: []string{certs, "--kube-api-burst=-10"}, want: []string{"--kube-api-burst must not be negative"}},
		"a rate and a burst":               {args: []string{certs, "--kube-api-qps=50", "--kube-api-burst=100"}},
		"a negative delay":                 {args: []string{certs, "--shutdown-delay-duration=-1s"}, want: []string{"--shutdown-delay-duration"}},
		"a namespace that is none":         {args: []string{certs, "--namespace=Tenancy", "--leader-election-namespace=x"}, want: []string{`--namespace "Tenancy"`}},
		"the Lease's":                      {args: []string{certs, "--leader-election-namespace=a.b"}, want: []string{`--leader-election-namespace "a.b"`}},
		"a configuration that is none":     {args: []string{certs, "--configuration-name=-"}, want: []string{`--configuration-name "-"`}},
		"a Secret that is none":            {args: []string{certs, "--certificate-secret=a/b"}, want: []string{`--certificate-secret "a/b"`}},
		"a Lease that ends before":         {args: []string{certs, "--leader-elect-lease-duration=10s"}, want: []string{"--leader-elect-lease-duration has to be longer"}},
		"a Lease that nobody asks for":     {args: []string{"--webhooks=false", "--controllers=access", "--leader-elect=false", "--leader-elect-lease-duration=1s"}},
		"a shorter Lease":                  {args: []string{certs, "--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms"}},
		"everything that is wrong at once": {args: []string{"--controllers=x", "--webhook-port=0", "--kube-api-qps=-1"}, want: []string{"--controllers", "--webhook-cert-dir", "--webhook-port", "--kube-api-qps"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, test.args...)
			require.NoError(t, o.Complete())
			err := o.Validate()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(test.want), err)
			for i, want := range test.want {
				assert.Contains(t, lines[i], want)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	inPod := filepath.Join(t.TempDir(), "namespace")
	require.NoError(t, os.WriteFile(inPod, []byte("capsule\n"), 0o600))
	for name, test := range map[string]struct {
		args                   []string
		file                   string
		namespace, ofTheLeases string
	}{
		"on a host":          {file: filepath.Join(t.TempDir(), "absent"), namespace: "tenancy-system", ofTheLeases: "tenancy-system"},
		"in a pod":           {file: inPod, namespace: "capsule", ofTheLeases: "capsule"},
		"told where":         {file: inPod, args: []string{"--namespace=a"}, namespace: "a", ofTheLeases: "a"},
		"a Lease elsewhere":  {file: inPod, args: []string{"--leader-election-namespace=b"}, namespace: "capsule", ofTheLeases: "b"},
		"both are told":      {file: inPod, args: []string{"--namespace=a", "--leader-election-namespace=b"}, namespace: "a", ofTheLeases: "b"},
		"file is not needed": {file: t.TempDir(), args: []string{"--namespace=a"}, namespace: "a", ofTheLeases: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, test.args...)
			o.namespaceFile = test.file
			require.NoError(t, o.Complete())
			assert.Equal(t, test.namespace, o.Namespace)
			assert.Equal(t, test.ofTheLeases, o.LeaderElection.Namespace)
		})
	}
	o := parse(t)
	o.namespaceFile = t.TempDir()
	require.ErrorContains(t, o.Complete(), "find own namespace: ")
}

func TestConfig(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c,
		clusters: [{name: c, cluster: {server: "https://example.com"}}], contexts: [{name: c, context: {cluster: c, user: u}}],
		users: [{name: u, user: {token: t}}]}`), 0o600))
	configured := func(t *testing.T, args ...string) *controller.Config {
		t.Helper()
		o := parse(t, append([]string{"--kubeconfig=" + kubeconfig, "--webhook-cert-dir=/tls"}, args...)...)
		o.namespaceFile = filepath.Join(t.TempDir(), "absent")
		require.NoError(t, o.Complete())
		require.NoError(t, o.Validate())
		config, err := o.Config()
		require.NoError(t, err)
		assert.Equal(t, "https://example.com", config.Client.Host)
		return config
	}
	t.Run("by default", func(t *testing.T) {
		config := configured(t)
		assert.InDelta(t, -1, config.Client.QPS, 0, "the API server limits requests")
		assert.True(t, strings.HasPrefix(config.Client.UserAgent, filepath.Base(os.Args[0])), config.Client.UserAgent)
		assert.Equal(t, controller.Names(), config.Controllers)
		assert.True(t, config.CompileWriteOperations)
		assert.Equal(t, "default", config.ConfigurationName)
		assert.Equal(t, &controller.Address{Port: 9443}, config.Webhooks)
		assert.Equal(t, &controller.LeaderElection{
			Namespace: "tenancy-system", LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		}, config.LeaderElection)
		assert.True(t, config.MetricsSecure)
		assert.Empty(t, config.ProfilingAddress)
	})
	t.Run("as told", func(t *testing.T) {
		config := configured(t, "--kube-api-qps=50", "--kube-api-burst=100", "--webhooks=false", "--leader-elect=false",
			"--controllers=access", "--compile-write-operations=false", "--metrics-bind-address=0")
		assert.InDelta(t, 50, config.Client.QPS, 0)
		assert.Equal(t, 100, config.Client.Burst)
		assert.Equal(t, []string{"access"}, config.Controllers)
		assert.False(t, config.CompileWriteOperations)
		assert.Nil(t, config.Webhooks)
		assert.Nil(t, config.LeaderElection)
		assert.False(t, config.MetricsSecure, "there is nothing to secure")
	})
}

func TestCommand(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"an unknown flag":             {args: []string{"--bogus"}, want: []string{"--bogus"}},
		"an argument":                 {args: []string{"bogus"}, want: []string{"bogus"}},
		"contradictions":              {args: []string{"--controllers=bogus", "--webhook-port=0"}, want: []string{"bogus", "--webhook-port"}},
		"a kubeconfig that's missing": {args: []string{"--webhooks=false", "--controllers=access", "--kubeconfig=/does/not/exist"}, want: []string{"/does/not/exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := execute(t, test.args...)
			require.Error(t, err)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, output, "Usage:", "the reason is not to be buried")
		})
	}
}

func TestHelp(t *testing.T) {
	output, err := execute(t, "--help")
	require.NoError(t, err)
	for _, want := range append(controller.Names(),
		"tenancy-controller reconciles", "Usage:", "Tenancy flags:", "--controllers", "Leader election flags:", "Webhooks flags:",
		"--certificate-secret", "Metrics and health flags:", "Logs flags:", "--logging-format", "Global flags:", "--version",
	) {
		assert.Contains(t, output, want)
	}
}

// parse returns the options after the flags.
func parse(tb testing.TB, args ...string) *Options {
	tb.Helper()
	o := NewOptions()
	flags := (&cobra.Command{}).Flags()
	for _, fs := range o.Flags().FlagSets {
		flags.AddFlagSet(fs)
	}
	require.NoError(tb, flags.Parse(args))
	return o
}

// execute runs the command and returns what it writes.
func execute(tb testing.TB, args ...string) (string, error) {
	tb.Helper()
	var output bytes.Buffer
	cmd := NewCommand(tb.Context())
	cmd.SetArgs(args)
	cmd.SetOut(&output)
	cmd.SetErr(&output)
	err := cmd.Execute()
	return output.String(), err
}
