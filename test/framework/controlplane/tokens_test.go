// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	userDev  = "capsule-user-dev@example.com"
	groupDev = "0fd5e5bb-39bb-468c-b343-dcdfb01e92d0"
	groupAll = "03c9ccac-5b1e-4a51-9d0b-6a3f2a9d3f10"
)

// withToken is a client's configuration with nothing but a token.
func withToken(i *Issuer, token string) *rest.Config {
	return &rest.Config{Host: i.Server(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: i.CACert()}}
}

// whoAmI asks the API server for whom it takes the bearer of the configuration.
func whoAmI(t testing.TB, config *rest.Config) (authenticationv1.UserInfo, error) {
	t.Helper()
	review, err := clientFor(t, config, nil).AuthenticationV1().SelfSubjectReviews().Create(t.Context(),
		&authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

func requireUser(t testing.TB, config *rest.Config, name string, groups ...string) {
	t.Helper()
	info, err := whoAmI(t, config)
	require.NoError(t, err)
	require.Equal(t, name, info.Username)
	require.Equal(t, append(groups, "system:authenticated"), info.Groups)
}

func newToken(t testing.TB, i *Issuer, user string, groups ...string) string {
	t.Helper()
	token, err := i.Token(user, groups, time.Hour)
	require.NoError(t, err)
	return token
}

func newTokens(t testing.TB, url string) *tokenAuthority {
	t.Helper()
	key, err := newKey()
	require.NoError(t, err)
	tokens, err := newTokenAuthority(key, url)
	require.NoError(t, err)
	return tokens
}

// testTokens shows who gets in by a token, on two running control planes.
func testTokens(t *testing.T, one, other *ControlPlane) {
	t.Helper()

	t.Run("a user has the token's name and groups", func(t *testing.T) {
		config, err := one.TokenConfig(userDev, groupAll, groupDev)
		require.NoError(t, err)
		requireUser(t, config, userDev, groupAll, groupDev)
		_, err = clientFor(t, config, nil).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, `User "`+userDev+`" cannot list resource "namespaces"`)
	})

	t.Run("a kubeconfig has the token and no certificate", func(t *testing.T) {
		data, err := one.TokenKubeconfig(userDev, groupDev)
		require.NoError(t, err)
		config, err := clientcmd.RESTConfigFromKubeConfig(data)
		require.NoError(t, err)
		require.Empty(t, config.CertData)
		require.Empty(t, config.KeyData)
		requireUser(t, config, userDev, groupDev)
	})

	t.Run("a user without groups", func(t *testing.T) {
		requireUser(t, withToken(one.Issuer, newToken(t, one.Issuer, "carol")), "carol")
	})

	t.Run("another process signs as well", func(t *testing.T) {
		issuer, err := OpenIssuer(one.config.Dir)
		require.NoError(t, err)
		require.Equal(t, one.TokenIssuer(), issuer.TokenIssuer())
		requireUser(t, withToken(issuer, newToken(t, issuer, userDev, groupDev)), userDev, groupDev)
	})

	t.Run("a client certificate and no credential are what they were", func(t *testing.T) {
		config, err := one.RESTConfig("alice", "capsule.clastix.io")
		require.NoError(t, err)
		requireUser(t, config, "alice", "capsule.clastix.io")
		_, err = whoAmI(t, withToken(one.Issuer, ""))
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, `User "system:anonymous"`)
	})

	// A stranger has a key of its own, and says that it is the issuer's.
	stranger := newTokens(t, one.TokenIssuer())
	impostor := *stranger
	impostor.publicKey.ID = one.tokens.publicKey.ID
	for name, test := range map[string]struct {
		signer *tokenAuthority
		change func(*tokenClaims)
	}{
		"expired":               {one.tokens, func(c *tokenClaims) { c.ExpiresAt = time.Now().Add(-time.Second).Unix() }},
		"another key":           {stranger, nil},
		"another key of its ID": {&impostor, nil},
		"another audience":      {one.tokens, func(c *tokenClaims) { c.Audience = "kubernetes" }},
		"no audience":           {one.tokens, func(c *tokenClaims) { c.Audience = "" }},
		"another issuer":        {one.tokens, func(c *tokenClaims) { c.Issuer = other.TokenIssuer() }},
		"another plane's":       {other.tokens, nil},
		"system user":           {one.tokens, func(c *tokenClaims) { c.Username = "system:kube-controller-manager" }},
		"system:masters":        {one.tokens, func(c *tokenClaims) { c.Groups = []string{groupDev, "system:masters"} }},
		"no user":               {one.tokens, func(c *tokenClaims) { c.Username = "" }},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			claims := test.signer.claims(userDev, []string{groupDev}, time.Hour)
			if test.change != nil {
				test.change(&claims)
			}
			token, err := test.signer.sign(claims)
			require.NoError(t, err)
			_, err = whoAmI(t, withToken(one.Issuer, token))
			require.True(t, apierrors.IsUnauthorized(err), "%v", err)
		})
	}

	t.Run("refused: a negative lifetime, a token that was changed", func(t *testing.T) {
		expired, err := one.Token(userDev, nil, -time.Second)
		require.NoError(t, err)
		parts := strings.Split(newToken(t, one.Issuer, userDev, groupDev), ".")
		parts[1] = strings.Split(newToken(t, one.Issuer, "bob", groupDev), ".")[1]
		for _, token := range []string{expired, strings.Join(parts, ".")} {
			_, err = whoAmI(t, withToken(one.Issuer, token))
			require.True(t, apierrors.IsUnauthorized(err), "%v", err)
		}
	})

	t.Run("a restarted API server takes the same token", func(t *testing.T) {
		config := withToken(one.Issuer, newToken(t, one.Issuer, userDev, groupDev))
		requireUser(t, config, userDev, groupDev)
		require.NoError(t, one.APIServer().Restart(t.Context()))
		requireUser(t, config, userDev, groupDev)
		require.NoError(t, one.APIServer().Kill())
		require.NoError(t, one.APIServer().Start(t.Context()))
		requireUser(t, config, userDev, groupDev)
	})
}

// decode is the inverse of encodeBase64, of JSON.
func decode(t testing.TB, part string, into any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func TestTokenCanBeVerified(t *testing.T) {
	tokens := newTokens(t, "https://127.0.0.1:10000")
	handler, err := newTokenHandler(tokens)
	require.NoError(t, err)
	get := func(path string, into any) {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, response.Code)
		require.Equal(t, "application/json", response.Header().Get("Content-Type"))
		require.NoError(t, json.Unmarshal(response.Body.Bytes(), into))
	}

	// As a client does it that knows the issuer's URL and nothing else.
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	get("/.well-known/openid-configuration", &discovery)
	require.Equal(t, tokens.url, discovery.Issuer)
	path, found := strings.CutPrefix(discovery.Keys, tokens.url)
	require.True(t, found, discovery.Keys)
	var set struct {
		Keys []struct{ Kty, Crv, X, Y, Kid, Alg, Use string }
	}
	get(path, &set)
	require.Len(t, set.Keys, 1)
	key := set.Keys[0]
	require.Equal(t, []string{"EC", "P-256", "ES256", "sig"}, []string{key.Kty, key.Crv, key.Alg, key.Use})
	point := []byte{4}
	for _, coordinate := range []string{key.X, key.Y} {
		data, err := base64.RawURLEncoding.DecodeString(coordinate)
		require.NoError(t, err)
		point = append(point, data...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	require.NoError(t, err)

	// Often enough for halves of a signature that begin with zeros.
	for range 1000 {
		token, err := tokens.sign(tokens.claims(userDev, []string{groupDev}, time.Hour))
		require.NoError(t, err)
		parts := strings.Split(token, ".")
		require.Len(t, parts, 3)
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		require.NoError(t, err)
		require.Len(t, signature, 64)
		digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		require.True(t, ecdsa.Verify(public, digest[:], r, s))
	}

	before := time.Now().Unix()
	token, err := tokens.sign(tokens.claims(userDev, []string{groupDev, groupAll}, time.Hour))
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	var header, claims map[string]any
	decode(t, parts[0], &header)
	require.Equal(t, map[string]any{"alg": "ES256", "kid": key.Kid, "typ": "JWT"}, header)
	decode(t, parts[1], &claims)
	issued, ok := claims["iat"].(float64)
	require.True(t, ok)
	require.GreaterOrEqual(t, int64(issued), before)
	require.Equal(t, map[string]any{
		"iss": tokens.url, "aud": "capsule-tenancy", "sub": userDev, "preferred_username": userDev,
		"groups": []any{groupDev, groupAll}, "iat": issued, "exp": issued + 3600,
	}, claims)

	_, err = (&Issuer{tokens: tokens}).Token("", nil, time.Hour)
	require.EqualError(t, err, "sign token: the user has no name")
}

func TestTokenKeyStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), pkiName)
	var ids []string
	for range 2 {
		_, err := loadOrCreatePKI(dir)
		require.NoError(t, err)
		tokens, err := loadTokenAuthority(dir, "https://127.0.0.1:10000")
		require.NoError(t, err)
		ids = append(ids, tokens.publicKey.ID)
	}
	require.Equal(t, ids[0], ids[1])
	require.NotEqual(t, ids[0], newTokens(t, "https://127.0.0.1:10000").publicKey.ID)
	info, err := os.Stat(filepath.Join(dir, "tokens.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestTokenPortStays(t *testing.T) {
	dir := t.TempDir()
	listen := func(apiServerPort int) (net.Listener, int) {
		listener, err := listenForTokens(dir, apiServerPort)
		require.NoError(t, err)
		t.Cleanup(func() { listener.Close() }) //nolint:errcheck // some are closed
		port := listener.Addr().(*net.TCPAddr).Port
		require.NoError(t, writeAuthentication(dir, "https://"+listener.Addr().String(), []byte("ca")))
		issuer, err := readTokenIssuer(dir)
		require.NoError(t, err)
		require.Equal(t, loopbackURL(port), issuer)
		return listener, port
	}
	first, port := listen(0)
	require.NoError(t, first.Close())
	second, again := listen(0)
	require.Equal(t, port, again)

	_, elsewhere := listen(0)
	require.NotEqual(t, port, elsewhere, "somebody has the port")
	require.NoError(t, second.Close())

	require.NoError(t, writeAuthentication(dir, loopbackURL(port), []byte("ca")))
	_, elsewhere = listen(port)
	require.NotEqual(t, port, elsewhere, "the port is to be kube-apiserver's")
}

func TestAuthenticationConfigurationErrors(t *testing.T) {
	for content, want := range map[string]string{
		"":                                     "0 issuers",
		"jwt: [{}, {}]":                        "2 issuers",
		"jwt: {":                               "parse authentication configuration",
		"users: [carol]":                       "unknown field",
		"jwt: [{issuer: {url: https://none}}]": "parse port of issuer https://none",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, authenticationFile), []byte(content), 0o600))
		_, err := listenForTokens(dir, 0)
		assert.ErrorContains(t, err, want, content)
	}
}

func TestTokenServerClose(t *testing.T) {
	dir := t.TempDir()
	p, err := loadOrCreatePKI(dir)
	require.NoError(t, err)
	listener, err := listenForTokens(dir, 0)
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	tokens := newTokens(t, loopbackURL(port))
	server, err := serveTokenIssuer(listener, tokens, p.cert(tokenServingName), p.key(tokenServingName))
	require.NoError(t, err)
	trusting, err := clientTLS(p.cluster, "", "")
	require.NoError(t, err)
	for _, host := range []string{loopbackHost, "localhost"} {
		require.NoError(t, httpReady(trusting, "https://"+net.JoinHostPort(host, strconv.Itoa(port))+discoveryPath)(t.Context()))
	}
	require.ErrorContains(t, httpReady(trusting, tokens.url+"/token")(t.Context()), "404")
	require.NoError(t, server.Close())
	require.NoError(t, CheckPort(port))
}
