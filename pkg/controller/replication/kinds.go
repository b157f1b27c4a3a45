// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// unknownFor is how long a kind that there is not is not looked for again, and
	// maxUnknown for how many that is remembered.
	unknownFor, maxUnknown = 30 * time.Second, 4096
)

// kinds finds out where objects of kinds are. To look for a kind that there is not
// takes requests to the API server, during which nobody else finds one: that there is
// none is remembered for a while. It may be used concurrently.
type kinds struct {
	mapper  meta.RESTMapper
	unknown *utilcache.LRUExpireCache
}

func newKinds(mapper meta.RESTMapper, c clock.PassiveClock) *kinds {
	return &kinds{mapper, utilcache.NewLRUExpireCacheWithClock(maxUnknown, c)}
}

// lookUp returns nil if the objects of a kind are in namespaces, a clusterScopedError
// if they are in none, and why it is not known otherwise.
func (k *kinds) lookUp(gvk schema.GroupVersionKind) error {
	none := fmt.Errorf("there is no kind %s in %s", gvk.Kind, gvk.GroupVersion())
	if _, ok := k.unknown.Get(gvk); ok {
		return none
	}
	mapping, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	switch {
	case meta.IsNoMatchError(err):
		k.unknown.Add(gvk, nil, unknownFor)
		return none
	case err != nil:
		return fmt.Errorf("find kind %s: %w", gvk.Kind, err)
	case mapping.Scope.Name() != meta.RESTScopeNameNamespace:
		return clusterScopedError{}
	}
	return nil
}

// clusterScopedError is about a kind the objects of which are in no namespace.
type clusterScopedError struct{}

func (clusterScopedError) Error() string { return "in no namespace" }

// scope returns where the objects of a kind are.
func (p *planner) scope(gvk schema.GroupVersionKind) (meta.RESTScopeName, error) {
	known, ok := p.known[gvk]
	if !ok {
		if len(p.known) >= maxKinds {
			return "", fmt.Errorf("these are more than %d kinds: spread them over several objects of this kind", maxKinds)
		}
		if err := p.budget.Check(); err != nil {
			return "", err
		}
		known = p.reconciler.kinds.lookUp(gvk)
		p.known[gvk] = known
	}
	if _, ok := errors.AsType[clusterScopedError](known); ok {
		return meta.RESTScopeNameRoot, nil
	}
	return meta.RESTScopeNameNamespace, known
}
