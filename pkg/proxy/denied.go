// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"
)

const (
	// deniedFor is how long a refusal is remembered, and so how long a caller who is
	// granted everything is given the view's answer still.
	deniedFor = 5 * time.Second
	// maxDenied is how many are remembered.
	maxDenied = 8192
)

// refusal is a digest of what the API server refused, and to whom. The credential itself
// is kept nowhere, and nothing of the client's choosing has a say in how much memory a
// refusal takes.
type refusal [sha256.Size]byte

// denied remembers for a while which lists and watches the API server refuses. It can be
// used concurrently.
type denied struct{ cache *cache.LRUExpireCache }

func newDenied(c clock.Clock) *denied {
	return &denied{cache: cache.NewLRUExpireCacheWithClock(maxDenied, c)}
}

func (d *denied) add(r refusal)           { d.cache.Add(r, struct{}{}, deniedFor) }
func (d *denied) contains(r refusal) bool { _, ok := d.cache.Get(r); return ok }

// refusalOf returns what would be refused of a request.
func refusalOf(req *http.Request, r *route) refusal {
	hash, caller, native := sha256.New(), callerOf(req), r.resource.Native
	_, _ = hash.Write(caller[:])
	// The selector is last, so that wherever it ends is its end.
	_, _ = fmt.Fprintf(hash, "%q %q %q %q\n%s", r.verb, native.Group, native.Version, native.Resource, r.fieldSelector)
	return refusal(hash.Sum(nil))
}

// callerOf returns a digest of everything in a request that says who asks.
func callerOf(req *http.Request) [sha256.Size]byte {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		if saysWho(name) {
			// Quoted, for what is a name and what are values is the caller's to choose.
			_, _ = fmt.Fprintf(hash, "%q %q\n", name, req.Header[name])
		}
	}
	if u, ok := apirequest.UserFrom(req.Context()); ok {
		_, _ = fmt.Fprintf(hash, "%q %q %q %q\n", u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra())
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// impersonatePrefix begins the headers by which a caller asks to be somebody else.
const impersonatePrefix = "Impersonate-"

// saysWho reports whether a header says who asks, or who he is to be taken for.
func saysWho(name string) bool {
	return name == "Authorization" || name == "Sec-Websocket-Protocol" || strings.HasPrefix(name, impersonatePrefix)
}
