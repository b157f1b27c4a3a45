// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given   string
		wantErr string
	}{
		"defaults":           {},
		"all visible":        {given: "--namespaces 100 --visible 100 --tenants 1"},
		"no nodes, no scale": {given: "--nodes 0 --scale 0"},
		"argument":           {given: "LIST", wantErr: "LIST"},
		"one's own":          {given: "--only TENANT,AUTHZ --creations 10 --compiled-tenants 20"},
		"no creations":       {given: "--creations 0", wantErr: "--creations"},
		"no tenants":         {given: "--compiled-tenants 0", wantErr: "--compiled-tenants"},
		"no rounds":          {given: "--rounds 0", wantErr: "--rounds"},
		"negative nodes":     {given: "--nodes -1", wantErr: "--nodes"},
		"negative scale":     {given: "--scale -1", wantErr: "--scale"},
		"too many visible":   {given: "--namespaces 10 --visible 11", wantErr: "--visible"},
		"nobody's":           {given: "--tenants 1", wantErr: "--tenants"},
		"no clients":         {given: "--clients 1,0", wantErr: "clients"},
		"no such":            {given: "--only LIST,LSIT", wantErr: "LSIT"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseOptions(strings.Fields(test.given))
			if test.wantErr != "" {
				require.ErrorContains(t, err, test.wantErr)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestInOwnDir(t *testing.T) {
	t.Parallel()
	assert.Empty(t, options{}.inOwnDir("tenants").dir, "a temporary one")
	given := options{dir: "state"}
	assert.Equal(t, "state", filepath.Dir(given.inOwnDir("tenants").dir))
	assert.NotEqual(t, given.inOwnDir("tenants"), given.inOwnDir("bare"))
	assert.Equal(t, "state", given.dir)
}

func TestArgsOfServer(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--server-arg", "--v=4"})
	require.NoError(t, err)
	assert.Equal(t, []string{"--v=4"}, o.argsOfServer())
	o.profileDir = "profiles"
	assert.Equal(t, []string{"--v=4", "--profiling"}, o.argsOfServer())
	assert.Equal(t, []string{"--v=4"}, o.serverArgs)
}
