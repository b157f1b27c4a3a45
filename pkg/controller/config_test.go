// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	assert.Equal(t, []string{"access", "configuration", "lifecycle", "namespaces", "provisioner", "quotas", "replication", "tenantowners", "tenants", "volumes"}, Names())
}

func TestSelect(t *testing.T) {
	without := func(name string) []string {
		return slices.DeleteFunc(Names(), func(n string) bool { return n == name })
	}
	for name, test := range map[string]struct {
		given     []string
		want      []string
		wantError string
	}{
		"everything":                      {given: []string{"*"}, want: Names()},
		"one":                             {given: []string{"access"}, want: []string{"access"}},
		"two, in their order":             {given: []string{"volumes", "access"}, want: []string{"access", "volumes"}},
		"one twice":                       {given: []string{"access", "access"}, want: []string{"access"}},
		"all but one":                     {given: []string{"*", "-access"}, want: without("access")},
		"all but one, the other way":      {given: []string{"-access", "*"}, want: without("access")},
		"one, and not that one":           {given: []string{"access", "volumes", "-access"}, want: []string{"volumes"}},
		"one beside everything":           {given: []string{"*", "access"}, want: Names()},
		"an unknown one":                  {given: []string{"*", "nodes"}, wantError: `there is no controller "nodes": known are access, configuration, lifecycle, namespaces, provisioner, quotas, replication, tenantowners, tenants, volumes`},
		"not an unknown one":              {given: []string{"*", "-nodes"}, wantError: `there is no controller "-nodes"`},
		"several":                         {given: []string{"nodes", "access", "pods"}, wantError: `there is no controller "nodes", "pods"`},
		"not everything":                  {given: []string{"-*"}, wantError: `there is no controller "-*"`},
		"an empty name":                   {given: []string{""}, wantError: `there is no controller ""`},
		"nothing":                         {wantError: `"" leaves no controller to run`},
		"nothing but what is not to run":  {given: []string{"-access"}, wantError: `"-access" leaves no controller to run`},
		"everything, and none of it left": {given: append([]string{"*"}, negated()...), wantError: "leaves no controller to run"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Select(test.given)
			if test.wantError != "" {
				require.ErrorContains(t, err, test.wantError)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func negated() []string {
	names := Names()
	for i := range names {
		names[i] = "-" + names[i]
	}
	return names
}
