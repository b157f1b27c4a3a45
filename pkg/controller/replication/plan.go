// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/replication/render"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// maxItems is how many objects a subject may have: its status names each, and
	// those that they replace, and an object must not be larger than 1.5 MB.
	maxItems = 3000
	// maxPlanTime is how long a plan may take: reading sources, rendering, merging.
	maxPlanTime = 10 * time.Second
	// maxPlanBytes is how much memory what is read and made for a plan may need.
	maxPlanBytes = 32 << 20
	// maxKinds is how many kinds a subject may name.
	maxKinds = 64
)

// itemKey names an object, whatever the version it is written in.
type itemKey struct {
	namespace, group, kind, name string
}

// item is an object that is wanted.
type item struct {
	itemKey

	version, tenant string
	// origin is where in the spec it comes from.
	origin string
	// object is what it is to be, without what says whose it is. Parts of it are
	// shared: nobody changes it.
	object map[string]any
	// err says why that cannot be, if it cannot.
	err error
}

func (i *item) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: i.group, Version: i.version, Kind: i.kind}
}

// String names the item in messages.
func (i *item) String() string {
	return fmt.Sprintf("%s %s/%s (%s)", i.kind, i.namespace, i.name, i.origin)
}

// entry returns what the status says of an item before it is written.
func (i *item) entry() capsulev1beta2.ProcessedItem {
	return capsulev1beta2.ProcessedItem{
		Tenant: i.tenant, Origin: i.origin, Group: i.group, Version: i.version, Kind: i.kind, Name: i.name, Namespace: i.namespace,
		Status: capsulev1beta2.ProcessedItemStatus{Type: capsulev1beta2.ReadyCondition, Status: metav1.ConditionUnknown},
	}
}

// plan is what a subject wants.
type plan struct {
	items map[itemKey]*item
	// failures say what of it cannot be known.
	failures []error
	// blind are the namespaces in which it is not known; the empty one is all.
	blind sets.Set[string]
	// tooLarge says that it is more than can be done, if it is.
	tooLarge error
	// bytes is how much memory it needs, about.
	bytes int
}

func (p *plan) keys() []itemKey {
	return slices.SortedFunc(maps.Keys(p.items), compareKeys)
}

func (p *plan) isBlind(namespace string) bool { return p.blind.HasAny("", namespace) }

// planner makes a plan.
type planner struct {
	plan

	*reconciler
	reach   *reach
	as      identity
	manager string
	// budget is looked at before each target and each object, lookup and merge.
	budget *render.Budget
	// known, sources and reported hold what was looked up and said already.
	known    map[schema.GroupVersionKind]error
	sources  map[sourceKey]sourceResult
	reported sets.Set[string]
}

// plan returns what the subject wants.
func (r *reconciler) plan(ctx context.Context, s *subject, as identity, reach *reach) *plan {
	p := &planner{
		plan:       plan{items: map[itemKey]*item{}, blind: sets.New[string]()},
		reconciler: r, reach: reach, as: as, manager: s.manager(),
		budget: render.NewBudget(r.clock, maxPlanTime, maxPlanBytes),
		known:  map[schema.GroupVersionKind]error{}, sources: map[sourceKey]sourceResult{}, reported: sets.New[string](),
	}
	ctx, cancel := context.WithTimeout(ctx, maxPlanTime)
	defer cancel()
	for i := range s.spec.Resources {
		if !p.mayGoOn() {
			break
		}
		p.resources(ctx, fmt.Sprintf("resources[%d]", i), &s.spec.Resources[i])
	}
	p.mayGoOn()
	p.bytes = p.budget.Used()
	return &p.plan
}

// mayGoOn reports whether there is time and memory left.
func (p *planner) mayGoOn() bool {
	if p.tooLarge != nil {
		return false
	}
	if err := p.budget.Check(); err != nil {
		p.tooLarge = tooLarge(err.Error())
	}
	return p.tooLarge == nil
}

func tooLarge(message string) error {
	return &failureError{capsulev1beta2.FailedReason, message + ": spread the spec over several objects of this kind"}
}

// fail says that part of what is wanted for a target is not known.
func (p *planner) fail(t target, origin string, err error) {
	p.blind.Insert(t.namespaceName())
	err = fmt.Errorf("%s: %w", origin, err)
	if !p.reported.Has(err.Error()) {
		p.reported.Insert(err.Error())
		p.failures = append(p.failures, err)
	}
}

// resources adds what one entry of the spec wants, for each target.
func (p *planner) resources(ctx context.Context, origin string, resources *capsulev1beta2.ReplicatedResources) {
	selector := labels.Everything()
	if resources.NamespaceSelector != nil {
		var errs field.ErrorList
		if selector, errs = tenant.Selector(field.NewPath("namespaceSelector"), resources.NamespaceSelector); len(errs) > 0 {
			p.fail(target{}, origin, errs.ToAggregate())
			return
		}
	}
	content := p.parse(origin, resources)
	for _, t := range p.reach.targets {
		if !p.mayGoOn() {
			return
		}
		if t.namespace == nil || selector.Matches(labels.Set(t.namespace.Labels)) {
			p.target(ctx, t, origin, resources, content)
		}
	}
}

// content is what is read of an entry once for all targets; what cannot be read is
// nil.
type content struct {
	raw        []map[string]any
	generators []*render.Generator
}

func (p *planner) parse(origin string, resources *capsulev1beta2.ReplicatedResources) content {
	var c content
	for i := range resources.RawItems {
		if !p.mayGoOn() {
			return c
		}
		object := map[string]any{}
		err := utiljson.Unmarshal(resources.RawItems[i].Raw, &object)
		if err == nil {
			err = p.budget.Keep(object)
		}
		if err != nil {
			p.fail(target{}, fmt.Sprintf("%s.rawItems[%d]", origin, i), err)
			object = nil
		}
		c.raw = append(c.raw, object)
	}
	for i, g := range resources.Generators {
		if !p.mayGoOn() {
			return c
		}
		missing := render.MissingKey(g.MissingKey)
		if missing == "" {
			missing = render.Zero
		}
		generator, err := render.NewGenerator(g.Template, missing, p.budget)
		if err != nil {
			p.fail(target{}, fmt.Sprintf("%s.generators[%d]", origin, i), err)
		}
		c.generators = append(c.generators, generator)
	}
	return c
}

// target adds what one entry of the spec wants for one target.
func (p *planner) target(ctx context.Context, t target, origin string, resources *capsulev1beta2.ReplicatedResources, c content) {
	names := render.Names{Tenant: t.tenantName(), Namespace: t.namespaceName()}
	metadata, err := additional(resources.AdditionalMetadata, names)
	if err != nil {
		p.fail(t, origin+".additionalMetadata", err)
		return
	}
	add := func(origin string, object map[string]any) {
		if !p.mayGoOn() {
			return
		}
		if err := p.add(t, origin, object, metadata); err != nil {
			p.fail(t, origin, err)
		}
	}
	for i, raw := range c.raw {
		if raw == nil {
			continue
		}
		if !p.mayGoOn() {
			return
		}
		origin := fmt.Sprintf("%s.rawItems[%d]", origin, i)
		object, size, err := render.Value(raw, names)
		if err == nil {
			err = p.budget.KeepBytes(size)
		}
		if err != nil {
			p.fail(t, origin, err)
			continue
		}
		add(origin, object.(map[string]any)) //nolint:forcetypeassert // it was one before
	}
	for i := range resources.NamespacedItems {
		if !p.mayGoOn() {
			return
		}
		origin := fmt.Sprintf("%s.namespacedItems[%d]", origin, i)
		copies, err := p.copies(ctx, t, &resources.NamespacedItems[i], names)
		if err != nil {
			p.fail(t, origin, err)
			continue
		}
		for _, object := range copies {
			add(origin, object)
		}
	}
	if len(c.generators) == 0 || !p.mayGoOn() {
		return
	}
	data, err := p.data(ctx, t, resources.Context, names)
	if err != nil {
		p.fail(t, origin+".context", err)
		return
	}
	for i, generator := range c.generators {
		if generator == nil {
			continue
		}
		if !p.mayGoOn() {
			return
		}
		origin := fmt.Sprintf("%s.generators[%d]", origin, i)
		objects, err := generator.Objects(names, data)
		if err != nil {
			p.fail(t, origin, err)
			continue
		}
		for _, object := range objects {
			add(origin, object)
		}
	}
}

// additional returns the metadata of an entry for a target.
func additional(metadata *capsulev1beta2.AdditionalMetadata, names render.Names) (capsulev1beta2.AdditionalMetadata, error) {
	var result capsulev1beta2.AdditionalMetadata
	if metadata == nil {
		return result, nil
	}
	var err1, err2 error
	result.Labels, err1 = expand(metadata.Labels, names)
	result.Annotations, err2 = expand(metadata.Annotations, names)
	return result, errors.Join(err1, err2)
}

func expand(values map[string]string, names render.Names) (map[string]string, error) {
	expanded := make(map[string]string, len(values))
	for key, value := range values {
		var err error
		if expanded[key], err = render.String(value, names); err != nil {
			return nil, err
		}
	}
	return expanded, nil
}

// add adds an object for a target, or merges it with what is wanted of it already.
func (p *planner) add(t target, origin string, object map[string]any, metadata capsulev1beta2.AdditionalMetadata) error {
	wanted, gvk, err := normalize(object, metadata)
	if err != nil {
		return err
	}
	// The rest is shared, or was counted.
	if err := p.budget.Keep(wanted.metadata); err != nil {
		return err
	}
	key := itemKey{namespace: t.namespaceName(), group: gvk.Group, kind: gvk.Kind, name: wanted.name}
	if key.namespace == "" {
		key.namespace = wanted.namespace
	}
	if err := p.isNamespaced(gvk); err != nil {
		return fmt.Errorf("%s %s: %w", gvk.Kind, wanted.name, err)
	}
	if key.namespace == "" {
		return fmt.Errorf("%s %s: metadata.namespace is missing: in this scope it says where the object is to be", gvk.Kind, wanted.name)
	}
	for _, problem := range validation.ValidateNamespaceName(key.namespace, false) {
		return fmt.Errorf("%s %s: metadata.namespace %q: %s", gvk.Kind, wanted.name, key.namespace, problem)
	}
	wanted.metadata["namespace"] = key.namespace
	if other, ok := p.items[key]; ok {
		other.merge(origin, gvk.Version, wanted.object)
		return nil
	}
	p.items[key] = &item{itemKey: key, version: gvk.Version, tenant: t.tenantName(), origin: origin, object: wanted.object}
	if len(p.items) > maxItems {
		p.tooLarge = tooLarge(fmt.Sprintf("these are more than %d objects", maxItems))
	}
	return nil
}

// isNamespaced returns an error unless the objects of a kind are in namespaces.
func (p *planner) isNamespaced(gvk schema.GroupVersionKind) error {
	scope, err := p.scope(gvk)
	if err == nil && scope != meta.RESTScopeNameNamespace {
		return errors.New("objects of this kind are in no namespace, and are not made here")
	}
	return err
}
