// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"pgregory.net/rapid"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// TestModel sends random requests of everybody to a cluster in which Tenants come,
// change and go, and holds the invariants of doc.go after each of them.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cluster{namespaces: map[string]*metav1.PartialObjectMetadata{}, tenants: map[string]*capsulev1beta2.Tenant{}}
		for _, name := range tenantNames {
			c.makeTenant(t, name)
		}
		t.Repeat(map[string]func(*rapid.T){
			"tenant": c.changeTenant,
			"create": c.create,
			"update": c.update,
			"delete": c.delete,
			"":       c.check,
		})
	})
}

var (
	tenantNames    = []string{"oil", "gas", "oil-sea"}
	namespaceNames = []string{"oil-a", "oil-sea-a", "gas-a", "a", "kube-a"}
	requesters     = map[string]tenant.Requester{
		"alice": tenant.CapsuleUser, "bob": tenant.CapsuleUser, "eve": tenant.CapsuleUser,
		"uma": tenant.Unknown, "ada": tenant.Administrator,
	}
)

type cluster struct {
	namespaces map[string]*metav1.PartialObjectMetadata
	tenants    map[string]*capsulev1beta2.Tenant
	lives      int
}

func (c *cluster) makeTenant(t *rapid.T, name string) {
	c.lives++
	owners := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"alice", "bob"}), 0, 2, rapid.ID).Draw(t, "owners")
	made := testTenant(name, owners...)
	made.UID = types.UID(fmt.Sprintf("uid-%d", c.lives))
	made.Spec.Cordoned = rapid.IntRange(0, 3).Draw(t, "cordoned") == 0
	if rapid.Bool().Draw(t, "own prefix rule") {
		made.Spec.ForceTenantPrefix = new(rapid.Bool().Draw(t, "forced"))
	}
	c.tenants[name] = made
}

// changeTenant is what administrators do to Tenants.
func (c *cluster) changeTenant(t *rapid.T) {
	name := rapid.SampledFrom(tenantNames).Draw(t, "tenant")
	switch was := c.tenants[name]; {
	case was == nil:
		c.makeTenant(t, name)
	case rapid.Bool().Draw(t, "delete"):
		if was.DeletionTimestamp != nil {
			delete(c.tenants, name)
			return
		}
		c.tenants[name] = deleted(was.DeepCopy())
	default:
		uid := was.UID
		c.makeTenant(t, name)
		c.tenants[name].UID = uid
	}
}

// claim writes anything at all about a tenant into the namespace.
func (c *cluster) claim(t *rapid.T, n *metav1.PartialObjectMetadata) {
	switch rapid.IntRange(0, 2).Draw(t, "label") {
	case 0:
		delete(n.Labels, capsulev1beta2.TenantLabel)
	case 1:
		label(rapid.SampledFrom(append([]string{"", "none"}, tenantNames...)).Draw(t, "value"))(n)
	}
	if rapid.Bool().Draw(t, "owners") {
		n.OwnerReferences = nil
		for range rapid.IntRange(0, 2).Draw(t, "count") {
			name := rapid.SampledFrom(tenantNames).Draw(t, "owner")
			uid := types.UID(fmt.Sprintf("uid-%d", rapid.IntRange(1, c.lives).Draw(t, "uid")))
			if live := c.tenants[name]; live != nil && rapid.Bool().Draw(t, "right") {
				uid = live.UID
			}
			ownerWith(name, uid, rapid.SampledFrom([]string{"v1beta1", "v1beta2"}).Draw(t, "version"))(n)
		}
	}
}

func (c *cluster) create(t *rapid.T) {
	name := rapid.SampledFrom(namespaceNames).Draw(t, "namespace")
	if c.namespaces[name] != nil {
		t.Skip("exists")
	}
	given := testNamespace(name)
	c.claim(t, given)
	r := Request{Operation: admissionv1.Create, Name: name, New: given}
	made, who, ok := c.ask(t, r)
	if !ok {
		return
	}
	c.namespaces[name] = made
	claim := ClaimOf(made)
	if requesters[who] == tenant.Administrator || claim.Empty() {
		if requesters[who] == tenant.CapsuleUser {
			t.Fatalf("%s created a namespace of no tenant", who)
		}
		return
	}
	owned := Facts{Tenants: c.tenants}.belongs(claim)
	if owned == nil || requesters[who] != tenant.CapsuleUser || !tenant.IsOwner(owned, tenant.Sources{}, person(who)) {
		t.Fatalf("%s created %s", who, written(claim))
	}
	if owned.DeletionTimestamp != nil || owned.Spec.Cordoned {
		t.Fatalf("%s created a namespace in a Tenant that takes none", who)
	}
}

func (c *cluster) update(t *rapid.T) {
	old := c.pick(t)
	given := old.DeepCopy()
	c.claim(t, given)
	subresource := rapid.SampledFrom([]string{"", "", "status", "finalize"}).Draw(t, "subresource")
	changed, who, ok := c.ask(t, Request{Operation: admissionv1.Update, Subresource: subresource, Name: old.Name, Old: old, New: given})
	if !ok {
		return
	}
	c.namespaces[old.Name] = changed
	before, after := ClaimOf(old), ClaimOf(changed)
	if requesters[who] != tenant.Administrator && !before.Equal(after) {
		t.Fatalf("%s changed %s to %s", who, written(before), written(after))
	}
	if !before.Equal(after) && !after.Empty() && (Facts{Tenants: c.tenants}).belongs(after) == nil {
		t.Fatalf("%s left %s", who, written(after))
	}
}

func (c *cluster) delete(t *rapid.T) {
	old := c.pick(t)
	if _, _, ok := c.ask(t, Request{Operation: admissionv1.Delete, Name: old.Name, Old: old}); !ok {
		return
	}
	if old.DeletionTimestamp != nil {
		delete(c.namespaces, old.Name)
		return
	}
	c.namespaces[old.Name] = old.DeepCopy()
	terminating(c.namespaces[old.Name])
}

func (c *cluster) pick(t *rapid.T) *metav1.PartialObjectMetadata {
	if len(c.namespaces) == 0 {
		t.Skip("there is none")
	}
	return c.namespaces[rapid.SampledFrom(slices.Sorted(maps.Keys(c.namespaces))).Draw(t, "namespace")]
}

// ask sends a request of somebody through both phases, as the API server does.
func (c *cluster) ask(t *rapid.T, r Request) (*metav1.PartialObjectMetadata, string, bool) {
	who := rapid.SampledFrom(slices.Sorted(maps.Keys(requesters))).Draw(t, "who")
	r.User = &user.DefaultInfo{Name: who}
	config := &capsulev1beta2.CapsuleConfigurationSpec{
		ForceTenantPrefix:       rapid.Bool().Draw(t, "forced"),
		ProtectedNamespaceRegex: "^kube-",
	}
	if r.Operation != admissionv1.Delete && r.Subresource == "" {
		d := c.phase(t, Mutate, r, config)
		if d.Refusal != "" {
			return nil, who, false
		}
		r.New = apply(r.New, d)
	}
	d := c.phase(t, Validate, r, config)
	return r.New, who, d.Refusal == ""
}

// phase decides with all facts, and with those alone that are gathered.
func (c *cluster) phase(t *rapid.T, decide func(Request, Facts) Decision, r Request, config *capsulev1beta2.CapsuleConfigurationSpec) Decision {
	requester := requesters[r.User.GetName()]
	all := Facts{Requester: requester, Config: config, Tenants: c.tenants}
	for _, name := range tenantNames {
		if owned := c.tenants[name]; owned != nil && tenant.IsOwner(owned, tenant.Sources{}, r.User) {
			all.Owned = append(all.Owned, owned)
		}
	}
	gathered := Facts{Requester: requester, Config: config, Tenants: map[string]*capsulev1beta2.Tenant{}}
	for _, ref := range relevant(r, requester) {
		if known := c.tenants[ref.Name]; known != nil {
			gathered.Tenants[ref.Name] = known
		}
	}
	if NeedsOwned(r, requester) {
		gathered.Owned = all.Owned
	}
	d := decide(r, all)
	if diff := cmp.Diff(outcomeOf(d), outcomeOf(decide(r, gathered))); diff != "" {
		t.Fatalf("what is gathered does not suffice (-all +gathered):\n%s", diff)
	}
	c.discreet(t, d, r, all)
	return d
}

// discreet fails if a user is told of a Tenant that is not the user's.
func (c *cluster) discreet(t *rapid.T, d Decision, r Request, f Facts) {
	if f.Requester == tenant.Administrator {
		return
	}
	for name, known := range c.tenants {
		if !slices.Contains(f.Owned, known) && !slices.Contains(ClaimOf(r.New).names(), name) && strings.Contains(d.Refusal, `"`+name+`"`) {
			t.Fatalf("%s was told of %s: %s", r.User.GetName(), name, d.Refusal)
		}
	}
}

func (c *cluster) check(t *rapid.T) {
	for name, n := range c.namespaces {
		claim := ClaimOf(n)
		if _, ok := claim.Of(); !ok && !claim.Empty() {
			t.Fatalf("namespace %s says %s", name, written(claim))
		}
		if strings.HasPrefix(name, "kube-") && !claim.Empty() {
			t.Fatalf("namespace %s became %s", name, written(claim))
		}
	}
}
