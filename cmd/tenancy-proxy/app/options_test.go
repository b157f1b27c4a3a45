// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// parse returns what is wrong with arguments, one finding a line, and what is warned of.
func parse(t *testing.T, args ...string) (findings, warnings string) {
	t.Helper()
	o := NewOptions()
	fs := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	var output strings.Builder
	fs.SetOutput(&output)
	for _, set := range o.Flags().FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(args); err != nil {
		return err.Error(), ""
	}
	if err := o.Validate(); err != nil {
		findings = err.Error()
	}
	return findings, output.String()
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"defaults":    {},
		"own files":   {args: []string{"--ssl-cert-path=a", "--ssl-key-path=b"}},
		"plain HTTP":  {args: []string{"--enable-ssl=false"}},
		"no metrics":  {args: []string{"--metrics-addr=0", "--health-probe-bind-address=0"}},
		"port":        {[]string{"--listening-port=0"}, "--listening-port 0 is not a port"},
		"half a pair": {[]string{"--ssl-key-path=b"}, "--ssl-cert-path and --ssl-key-path need each other"},
		"TLS of plain HTTP": {
			[]string{"--enable-ssl=false", "--client-ca-file=a", "--tls-additional-sans=b"},
			"--client-ca-file needs --enable-ssl\n--tls-additional-sans needs --enable-ssl",
		},
		"names of another certificate": {
			[]string{"--ssl-cert-path=a", "--ssl-key-path=b", "--tls-additional-sans=c"},
			"--tls-additional-sans is of a self-signed certificate: leave out --ssl-cert-path, or have that certificate name them",
		},
		"way to come":         {[]string{"--auth-preferred-types=Anonymous"}, `--auth-preferred-types "Anonymous": known are BearerToken and TLSCertificate`},
		"certificates of all": {[]string{"--allow-system-certificates", "--client-ca-file="}, "--allow-system-certificates needs client certificates: --client-ca-file and --enable-ssl"},
		"expressions": {
			[]string{"--impersonation-group-regexp=(", "--ignored-impersonation-group=[,a"},
			"--impersonation-group-regexp \"(\": error parsing regexp: missing closing ): `(`\n--ignored-impersonation-group \"[\": error parsing regexp: missing closing ]: `[`",
		},
		"address": {[]string{"--metrics-addr=8080"}, `--metrics-addr "8080": address 8080: missing port in address`},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := parse(t, test.args...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFlagsOfCapsuleProxy holds that its flags are taken, and what they do not do is said.
func TestFlagsOfCapsuleProxy(t *testing.T) {
	findings, warnings := parse(t, "--capsule-configuration-name=default", "--capsule-user-group=capsule.clastix.io", "--ignored-user-group=a", "--ignored-username=b",
		"--listening-port=9001", "--oidc-username-claim=preferred_username", "--enable-ssl=true", "--ssl-cert-path=/opt/capsule-proxy/tls.crt", "--ssl-key-path=/opt/capsule-proxy/tls.key",
		"--rolebindings-resync-period=10h", "--client-connection-qps=20", "--client-connection-burst=30", "--auth-preferred-types=BearerToken,TLSCertificate", "--metrics-addr=:8080",
		"--ignored-impersonation-group=^system:", "--impersonation-group-regexp=^team-", "--allowed-paths=/api,/apis,/version", "--webhook-port=9443", "--enable-leader-election", "--disable-caching", "--enable-reflector", "--zap-log-level", "4", "--zap-devel")
	if findings != "" {
		t.Error(findings)
	}
	for _, name := range []string{"capsule-configuration-name", "capsule-user-group", "oidc-username-claim", "rolebindings-resync-period", "client-connection-qps", "client-connection-burst", "allowed-paths", "webhook-port", "enable-leader-election", "disable-caching", "enable-reflector", "zap-log-level", "zap-devel"} {
		if want := "Flag --" + name + " has been deprecated, it has no effect: "; strings.Count(warnings, want) != 1 {
			t.Errorf("want one line of %s, got:\n%s", name, warnings)
		}
	}
	if got := strings.Count(warnings, "\n"); got != 13 {
		t.Errorf("want 13 warnings, got:\n%s", warnings)
	}
}
