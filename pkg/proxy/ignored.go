// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// knownFor is how long it is remembered who comes with a token.
const knownFor = time.Minute

// ignored are the callers for whom no view is asked.
type ignored struct {
	users, groups sets.Set[string]
	// asked asks the API server who makes a request.
	asked func(*http.Request) (user.Info, error)
	// known is who came, by a digest of the token.
	known *cache.LRUExpireCache
}

func newIgnored(c Config, p *Proxy) *ignored {
	return &ignored{
		users: sets.New(c.IgnoredUsers...), groups: sets.New(c.IgnoredGroups...),
		asked: p.whoAsks, known: cache.NewLRUExpireCacheWithClock(maxDenied, c.Clock),
	}
}

// contains reports whether a request is one of theirs.
func (i *ignored) contains(req *http.Request) (bool, error) {
	if len(i.users)+len(i.groups) == 0 {
		return false, nil
	}
	if caller, ok := apirequest.UserFrom(req.Context()); ok {
		return i.has(caller), nil
	}
	key := callerOf(req)
	if has, ok := i.remembered(key); ok {
		return has, nil
	}
	caller, err := i.asked(req)
	if err != nil {
		return false, err
	}
	has := caller != nil && i.has(caller)
	i.known.Add(key, has, knownFor)
	return has, nil
}

func (i *ignored) remembered(key [sha256.Size]byte) (has, ok bool) {
	value, found := i.known.Get(key)
	if !found {
		return false, false
	}
	has, ok = value.(bool)
	return has, ok
}

func (i *ignored) has(caller user.Info) bool {
	return i.users.Has(caller.GetName()) || slices.ContainsFunc(caller.GetGroups(), i.groups.Has)
}

// whoAsks returns whom the API server takes the caller for, or nil if for nobody.
func (p *Proxy) whoAsks(req *http.Request) (user.Info, error) {
	review := &authenticationv1.SelfSubjectReview{}
	ok, err := p.ask(req, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", []byte(`{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`), review)
	if err != nil || !ok {
		return nil, err
	}
	return &user.DefaultInfo{Name: review.Status.UserInfo.Username, Groups: review.Status.UserInfo.Groups}, nil
}
