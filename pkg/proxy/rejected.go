// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// rejectedPerSecond is how many tokens the API server may reject from one address, and
	// rejectedBurst how many at once. A token costs the API server a signature to verify,
	// or a question to a webhook. The burst is also how many requests with tokens that
	// are not known may wait for their answers: it lets those through that share an
	// address and all come at once, as after a start of the proxy.
	rejectedPerSecond = 5
	rejectedBurst     = 200
	// takenFor is how long it is remembered that the API server took a token, and
	// maxTaken of how many tokens.
	takenFor = 5 * time.Minute
	maxTaken = 8192
	// budgetFor is how long it is remembered what an address may send after it has sent
	// something. It is longer than the burst takes to come back. maxBudgets is of how many
	// addresses that is known.
	budgetFor  = 5 * time.Minute
	maxBudgets = 8192
)

// rejected limits how often the API server is asked about tokens that it rejects, address
// by address. A request with a token that is not known to be good costs its address one when
// it is let through, not when it is answered, or any number could be on their way. It costs
// nothing if the API server takes the token: then it is given back, and for a while the token
// is known, so that nobody who shares an address, behind a load balancer, is kept out with
// those who try tokens there. rejected can be used concurrently.
type rejected struct {
	clock clock.Clock
	// taken are digests of tokens that the API server took.
	taken *cache.LRUExpireCache
	// lock protects budgets, and what they hold.
	lock sync.Mutex
	// budgets are those of addresses from which tokens came that were not known.
	budgets *cache.LRUExpireCache
}

// budget is how many tokens that are not known an address may send.
type budget struct {
	left float64
	// at is when that was so.
	at time.Time
}

func newRejected(c clock.Clock) *rejected {
	return &rejected{
		clock:   c,
		taken:   cache.NewLRUExpireCacheWithClock(maxTaken, c),
		budgets: cache.NewLRUExpireCacheWithClock(maxBudgets, c),
	}
}

// admits reports whether a request with a token is to be sent on. If it is, answered has to be
// told the status of the answer.
func (r *rejected) admits(req *http.Request, token string) (answered func(code int), ok bool) {
	// Whom a caller wants to impersonate does not make another token of it.
	key, address := sha256.Sum256([]byte(token)), addressOf(req)
	_, charged := r.taken.Get(key)
	charged = !charged
	if charged && !r.charge(address) {
		return nil, false
	}
	return func(code int) {
		if !provesGood(req, code) {
			return
		}
		if token != unknowable {
			r.taken.Add(key, struct{}{}, takenFor)
		}
		if charged {
			charged = false
			r.giveBack(address)
		}
	}, true
}

// charge reports whether an address may send a token that is not known, and has that cost it
// one.
func (r *rejected) charge(address string) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	b := r.budgetLocked(address)
	if b.left < 1 {
		return false
	}
	b.left--
	r.budgets.Add(address, b, budgetFor)
	return true
}

// giveBack undoes a charge.
func (r *rejected) giveBack(address string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	b := r.budgetLocked(address)
	b.left = min(b.left+1, rejectedBurst)
}

// budgetLocked returns what an address may send at this moment.
func (r *rejected) budgetLocked(address string) *budget {
	now := r.clock.Now()
	value, _ := r.budgets.Get(address)
	b, ok := value.(*budget)
	if !ok {
		return &budget{rejectedBurst, now}
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*rejectedPerSecond, rejectedBurst)
	b.at = now
	return b
}

// provesGood reports whether an answer says that the API server took the token of a request:
// it is one that is given after authentication only. An answer 401 does not say the opposite,
// for it may be an application's, behind services/NAME/proxy, or another API server's. It
// leaves things as they are: a token that was not known has cost one, and one that was is good
// for the rest of its time.
func provesGood(req *http.Request, code int) bool {
	if req.Method == http.MethodOptions {
		// The API server says before what browsers of other origins may send.
		return false
	}
	switch code {
	case http.StatusSwitchingProtocols, http.StatusNotModified, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
		return true
	}
	return code >= http.StatusOK && code < http.StatusMultipleChoices
}

// addressOf returns whom a request comes from: its address, or for IPv6 the network of 64
// bits, all of whose addresses one host may have. What headers say of others is anybody's to
// choose.
func addressOf(req *http.Request) string {
	remote, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	address := remote.Addr().Unmap()
	if address.Is4() {
		return address.String()
	}
	// It fails for more bits than there are.
	network, _ := address.WithZone("").Prefix(64)
	return network.String()
}

// errRejected is what is said then. Clients try again by themselves.
var errRejected = apierrors.NewTooManyRequests("too many credentials from this address were rejected: try again later", 1)
