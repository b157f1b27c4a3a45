// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"regexp"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// GroupFilter says which groups callers may ask to be taken for a member of: each costs the
// API server, and front ends send hundreds. Expressions are not anchored.
type GroupFilter struct {
	// Only is what the name of a group has to match; nil for everything.
	Only *regexp.Regexp
	// Except are what it must not match.
	Except []*regexp.Regexp
}

// apply removes groups from a request in somebody else's name. One without that name is
// left to the API server, which refuses it: without groups it would be one in the caller's
// own.
func (f *GroupFilter) apply(header http.Header) {
	groups := header[authenticationv1.ImpersonateGroupHeader]
	if len(groups) == 0 || header.Get(authenticationv1.ImpersonateUserHeader) == "" {
		return
	}
	groups = slices.DeleteFunc(slices.Clone(groups), f.drops)
	if len(groups) == 0 {
		delete(header, authenticationv1.ImpersonateGroupHeader)
		return
	}
	header[authenticationv1.ImpersonateGroupHeader] = groups
}

func (f *GroupFilter) drops(group string) bool {
	if f.Only != nil && !f.Only.MatchString(group) {
		return true
	}
	return slices.ContainsFunc(f.Except, func(e *regexp.Regexp) bool { return e.MatchString(group) })
}
