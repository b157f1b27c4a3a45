// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// rejectedPerSecond is how many tokens the API server rejects from one address
	// before the proxy keeps others that it does not know from it, and rejectedBurst how
	// many it rejects at once. A token costs the API server a signature to verify, or a
	// question to a webhook.
	rejectedPerSecond = 5
	rejectedBurst     = 50
	// suspectedFor is how long it is remembered that an address has sent such, and which
	// tokens of its the API server has taken meanwhile.
	suspectedFor = 5 * time.Minute
	// maxSuspected is of how many addresses, and of how many tokens, that is known.
	maxSuspected = 8192
)

// rejected limits how often the API server is asked about tokens that it rejects, address
// by address. Who shares the address, behind a load balancer, and has a token that was
// taken lately, is not limited. It can be used concurrently.
type rejected struct {
	clock clock.Clock
	// lock makes one limiter of an address.
	lock sync.Mutex
	// limiters are those of addresses from which tokens came that were rejected.
	limiters *cache.LRUExpireCache
	// taken are digests of the tokens that were not, since then.
	taken *cache.LRUExpireCache
}

func newRejected(c clock.Clock) *rejected {
	return &rejected{
		clock:    c,
		limiters: cache.NewLRUExpireCacheWithClock(maxSuspected, c),
		taken:    cache.NewLRUExpireCacheWithClock(maxSuspected, c),
	}
}

// refuses reports whether a request with a token is not to be sent on, for too many of its
// address were rejected.
func (r *rejected) refuses(req *http.Request) bool {
	limiter := r.limiterOf(addressOf(req))
	if limiter == nil || limiter.TokensAt(r.clock.Now()) >= 1 {
		return false
	}
	_, taken := r.taken.Get(callerOf(req))
	return !taken
}

// answered takes note of the status of an answer to a request with a token.
func (r *rejected) answered(req *http.Request, code int) {
	address := addressOf(req)
	limiter := r.limiterOf(address)
	switch {
	case code == http.StatusUnauthorized:
		r.lock.Lock()
		defer r.lock.Unlock()
		// Somebody else may have made it meanwhile.
		if limiter = r.limiterOf(address); limiter == nil {
			limiter = rate.NewLimiter(rejectedPerSecond, rejectedBurst)
		}
		limiter.AllowN(r.clock.Now(), 1)
		r.limiters.Add(address, limiter, suspectedFor)
	case limiter != nil && code != http.StatusTooManyRequests:
		r.taken.Add(callerOf(req), struct{}{}, suspectedFor)
	}
}

func (r *rejected) limiterOf(address string) *rate.Limiter {
	value, _ := r.limiters.Get(address)
	limiter, _ := value.(*rate.Limiter)
	return limiter
}

// addressOf returns the address that a request comes from. What headers say of others is
// anybody's to choose.
func addressOf(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// errRejected is what is said then. Clients try again by themselves.
var errRejected = apierrors.NewTooManyRequests("too many credentials from this address were rejected: try again later", 1)
