// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// tokenAudience is the client that the tokens are for: kube-apiserver.
	tokenAudience = "capsule-tenancy"
	// tokenAlgorithm is what a P-256 key signs with.
	tokenAlgorithm = "ES256"
	// tokenKeyName is the name of the key's file in the pki directory.
	tokenKeyName = "tokens"
	// p256Size is the length of a coordinate, and of either half of a signature.
	p256Size = 32
)

// tokenAuthority signs ID tokens of OpenID Connect in the name of the issuer at
// url. It is immutable after its creation.
type tokenAuthority struct {
	url       string
	key       *ecdsa.PrivateKey
	publicKey jsonWebKey
}

// jsonWebKey is the public half of a P-256 key (RFC 7517 and 7518).
type jsonWebKey struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// tokenHeader is the JOSE header of a token.
type tokenHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// tokenClaims are what a token says.
type tokenClaims struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Subject   string   `json:"sub"`
	Username  string   `json:"preferred_username"`
	Groups    []string `json:"groups,omitempty"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
}

// loadTokenAuthority reads the key in the pki directory.
func loadTokenAuthority(pkiDir, url string) (*tokenAuthority, error) {
	file := filepath.Join(pkiDir, tokenKeyName+".key")
	signer, err := loadKey(file)
	if err != nil {
		return nil, err
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read key: %s holds no P-256 key", file)
	}
	return newTokenAuthority(key, url)
}

func newTokenAuthority(key *ecdsa.PrivateKey, url string) (*tokenAuthority, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode public key of tokens: %w", err)
	}
	// A byte that says "uncompressed", then X, then Y.
	public := jsonWebKey{
		Type: "EC", Curve: "P-256", X: encodeBase64(point[1 : 1+p256Size]), Y: encodeBase64(point[1+p256Size:]),
		Algorithm: tokenAlgorithm, Use: "sig",
	}
	// The thumbprint of RFC 7638: another key never has the same ID.
	thumbprint := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, public.Curve, public.Type, public.X, public.Y))
	public.ID = encodeBase64(thumbprint[:])
	return &tokenAuthority{url: url, key: key, publicKey: public}, nil
}

// claims returns those of a token for a user in groups.
func (a *tokenAuthority) claims(user string, groups []string, lifetime time.Duration) tokenClaims {
	now := time.Now()
	return tokenClaims{
		Issuer: a.url, Audience: tokenAudience, Subject: user, Username: user, Groups: groups,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(lifetime).Unix(),
	}
}

// sign returns the claims as a signed token (RFC 7515, compact serialization).
func (a *tokenAuthority) sign(claims tokenClaims) (string, error) {
	header, err := json.Marshal(tokenHeader{Algorithm: tokenAlgorithm, KeyID: a.publicKey.ID, Type: "JWT"})
	if err != nil {
		return "", fmt.Errorf("encode header of token: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims of token: %w", err)
	}
	signed := encodeBase64(header) + "." + encodeBase64(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, a.key, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign token of %q: %w", claims.Username, err)
	}
	var signature [2 * p256Size]byte
	r.FillBytes(signature[:p256Size])
	s.FillBytes(signature[p256Size:])
	return signed + "." + encodeBase64(signature[:]), nil
}

func encodeBase64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// Token signs an ID token of the control plane's own OpenID Connect issuer, with
// which kube-apiserver takes its bearer for user in groups. Names that begin
// with "system:" are refused there. A negative lifetime makes a token that has
// expired already.
func (i *Issuer) Token(user string, groups []string, lifetime time.Duration) (string, error) {
	if user == "" {
		return "", errors.New("sign token: the user has no name")
	}
	return i.tokens.sign(i.tokens.claims(user, groups, lifetime))
}

// TokenIssuer returns the URL of the OpenID Connect issuer, which serves its
// discovery document below it while the control plane runs.
func (i *Issuer) TokenIssuer() string { return i.tokens.url }
