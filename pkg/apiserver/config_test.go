// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestCheckRequestHeader(t *testing.T) {
	t.Parallel()
	names := func(names ...string) *authenticatorfactory.RequestHeaderConfig {
		return &authenticatorfactory.RequestHeaderConfig{AllowedClientNames: headerrequest.StaticStringSlice(names)}
	}
	for name, test := range map[string]struct {
		requestHeader *authenticatorfactory.RequestHeaderConfig
		allowAny      bool
		want          []string
	}{
		"nothing":             {want: []string{"--requestheader-client-ca-file", "kube-system/extension-apiserver-authentication"}},
		"nothing, with flag":  {allowAny: true, want: []string{"--requestheader-client-ca-file"}},
		"no names":            {requestHeader: names(), want: []string{"--requestheader-allowed-names", "--allow-any-requestheader-name"}},
		"no names, with flag": {requestHeader: names(), allowAny: true},
		"names":               {requestHeader: names("front-proxy-client")},
		"names, with flag":    {requestHeader: names("front-proxy-client"), allowAny: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := requestHeaderGuard{config: test.requestHeader, allowAny: test.allowAny}.check()
			if test.want == nil {
				assert.NoError(t, err)
				return
			}
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

// The names come from a ConfigMap, which may change while the server runs.
func TestRequestHeaderNamesVanish(t *testing.T) {
	t.Parallel()
	var names []string
	guard := requestHeaderGuard{config: &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:    headerrequest.StaticStringSlice{"X-Remote-User"},
		AllowedClientNames: headerrequest.StringSliceProviderFunc(func() []string { return names }),
	}}
	protected := guard.protect(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "alice"}}, true, nil
	}))
	spoken := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	spoken.Header.Set("X-Remote-User", "admin")
	own := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)

	for _, step := range []struct {
		names  []string
		spoken bool
	}{{[]string{"front-proxy-client"}, true}, {nil, false}, {[]string{"front-proxy-client"}, true}} {
		names = step.names
		assert.Equal(t, step.spoken, guard.check() == nil, "ready with %v", names)
		_, ok, err := protected.AuthenticateRequest(spoken)
		assert.Equal(t, step.spoken, ok && err == nil, "spoken for with %v", names)
		_, ok, err = protected.AuthenticateRequest(own)
		assert.True(t, ok && err == nil, "by itself with %v", names)
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	unsafe := newConfig(t)
	unsafe.Generic.Authentication.RequestHeaderConfig.AllowedClientNames = headerrequest.StaticStringSlice{}
	completed, err := unsafe.Complete()
	require.ErrorContains(t, err, "--allow-any-requestheader-name")
	assert.Nil(t, completed.completedConfig)

	completed, err = newConfig(t).Complete()
	require.NoError(t, err)
	assert.Len(t, completed.feeds, 4, "feeds of the index")
	for _, f := range completed.feeds {
		assert.ErrorContains(t, completed.accessReady(), f.Name()+": not read yet")
	}
}
