// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	logsapi "k8s.io/component-base/logs/api/v1"
)

func TestMain(m *testing.M) {
	// Logging is global and set once by a command; here, by many.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	os.Exit(m.Run())
}

func TestDefaults(t *testing.T) {
	o := NewOptions()
	o.Complete()
	require.NoError(t, o.Validate())
	assert.Equal(t, 1000, o.SecureServing.HTTP2MaxStreamsPerConnection)
	assert.True(t, o.Run.ShutdownSendRetryAfter)
	assert.Positive(t, o.Run.ShutdownWatchTerminationGracePeriod)
	assert.False(t, o.AllowAnyRequestHeaderName)
	assert.False(t, o.Profiling)
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		// want are the parts of the messages, one message a line.
		want [][]string
	}{
		"nothing":                       {},
		"any name":                      {args: []string{"--allow-any-requestheader-name"}},
		"names":                         {args: []string{"--requestheader-allowed-names=front-proxy-client", "--requestheader-client-ca-file=ca.crt"}},
		"names of the cluster's CA":     {args: []string{"--requestheader-allowed-names=front-proxy-client"}, want: [][]string{{"--requestheader-allowed-names", "--requestheader-client-ca-file"}}},
		"any name and names":            {args: []string{"--allow-any-requestheader-name", "--requestheader-allowed-names=front-proxy-client", "--requestheader-client-ca-file=ca.crt"}, want: [][]string{{"--allow-any-requestheader-name", "--requestheader-allowed-names"}}},
		"no lookup":                     {args: []string{"--authentication-skip-lookup"}, want: [][]string{{"--authentication-skip-lookup", "--requestheader-client-ca-file"}}},
		"no lookup and a file":          {args: []string{"--authentication-skip-lookup", "--requestheader-client-ca-file=ca.crt"}},
		"port 0":                        {args: []string{"--secure-port=0"}, want: [][]string{{"--secure-port"}}},
		"a port that is none":           {args: []string{"--secure-port=65536"}, want: [][]string{{"--secure-port"}}},
		"a negative number of requests": {args: []string{"--max-requests-inflight=-1"}, want: [][]string{{"--max-requests-inflight"}}},
		"a negative delay":              {args: []string{"--shutdown-delay-duration=-1s"}, want: [][]string{{"--shutdown-delay-duration"}}},
		"a blank name":                  {args: []string{"--requestheader-allowed-names= ", "--requestheader-client-ca-file=ca.crt"}, want: [][]string{{"requestheader-allowed-names"}}},
		"a blank header":                {args: []string{"--requestheader-username-headers= "}, want: [][]string{{"requestheader-username-headers"}}},
		"a negative age of audit logs":  {args: []string{"--audit-log-path=-", "--audit-log-maxage=-1"}, want: [][]string{{"--audit-log-maxage"}}},
		"everything at once": {
			args: []string{
				"--max-requests-inflight=-1", "--secure-port=0", "--audit-log-path=-", "--audit-log-maxage=-1",
				"--allow-any-requestheader-name", "--requestheader-allowed-names=front-proxy-client", "--authentication-skip-lookup",
			},
			want: [][]string{
				{"--max-requests-inflight"}, {"--audit-log-maxage"}, {"--secure-port"},
				{"--allow-any-requestheader-name", "--requestheader-allowed-names"},
				{"--requestheader-allowed-names", "--requestheader-client-ca-file"},
				{"--authentication-skip-lookup", "--requestheader-client-ca-file"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, test.args...)
			o.Complete()
			err := o.Validate()
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(test.want), err)
			for i, parts := range test.want {
				for _, part := range parts {
					assert.Contains(t, lines[i], part)
				}
			}
		})
	}
}

func TestComplete(t *testing.T) {
	for name, test := range map[string]struct {
		args                          []string
		authentication, authorization string
	}{
		"in a cluster":               {},
		"one file":                   {args: []string{"--kubeconfig=k"}, authentication: "k", authorization: "k"},
		"own for authentication":     {args: []string{"--kubeconfig=k", "--authentication-kubeconfig=n"}, authentication: "n", authorization: "k"},
		"own for authorization":      {args: []string{"--kubeconfig=k", "--authorization-kubeconfig=z"}, authentication: "k", authorization: "z"},
		"own for both":               {args: []string{"--kubeconfig=k", "--authentication-kubeconfig=n", "--authorization-kubeconfig=z"}, authentication: "n", authorization: "z"},
		"only authentication's file": {args: []string{"--authentication-kubeconfig=n"}, authentication: "n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := parse(t, test.args...)
			o.Complete()
			assert.Equal(t, test.authentication, o.Authentication.RemoteKubeConfigFile)
			assert.Equal(t, test.authorization, o.Authorization.RemoteKubeConfigFile)
		})
	}
}

func TestCommand(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"an unknown flag":      {args: []string{"--bogus"}, want: []string{"--bogus"}},
		"a flag without value": {args: []string{"--secure-port=x"}, want: []string{"--secure-port"}},
		"an argument":          {args: []string{"bogus"}, want: []string{"bogus"}},
		"contradictions": {
			args: []string{"--secure-port=0", "--authentication-skip-lookup"},
			want: []string{"--secure-port", "--authentication-skip-lookup"},
		},
		"a kubeconfig that is missing": {args: []string{"--kubeconfig=/does/not/exist"}, want: []string{"/does/not/exist"}},
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
	for _, want := range []string{
		"tenancy-apiserver is an aggregated API server", "Usage:",
		"Tenancy flags:", "--kubeconfig", "--allow-any-requestheader-name", "--profiling",
		"Generic flags:", "Secure serving flags:", "--secure-port", "Authentication flags:", "Authorization flags:",
		"Audit log flags:", "Logs flags:", "--logging-format", "Global flags:", "--version", "--help",
	} {
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
	// A command that is not refused must not leave certificates here.
	cmd.SetArgs(append([]string{"--cert-dir=" + tb.TempDir()}, args...))
	cmd.SetOut(&output)
	cmd.SetErr(&output)
	err := cmd.Execute()
	return output.String(), err
}
