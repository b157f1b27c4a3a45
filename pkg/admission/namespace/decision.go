// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
)

// Request is what is asked about a namespace.
type Request struct {
	Operation admissionv1.Operation
	// Subresource is empty, "status" or "finalize".
	Subresource string
	// Name is empty while the API server has yet to make it of GenerateName: that
	// happens between the two phases.
	Name         string
	GenerateName string
	// Old is nil on CREATE, New on DELETE.
	Old, New *metav1.PartialObjectMetadata
	User     user.Info
}

// Facts are what has to be known to decide a request.
type Facts struct {
	Requester tenant.Requester
	// Config is what the configuration says, nil if there is none.
	Config *capsulev1beta2.CapsuleConfigurationSpec
	// Sources are what makes an owner of the requester, besides the specs of Tenants.
	Sources tenant.Sources
	// Tenants are those that exist of the ones that the namespace refers to, before
	// or after, by name.
	Tenants map[string]*capsulev1beta2.Tenant
	// Owned are the Tenants of the requester, where NeedsOwned says that they matter.
	Owned []*capsulev1beta2.Tenant
}

// Decision is the answer to a request.
type Decision struct {
	// Refusal says why the request is refused, and what to do. Empty: it is not.
	Refusal string
	// Claim is what the namespace has to say about its tenant, if Mutate has to
	// change it.
	Claim *Claim
	// Joins is the Tenant that the namespace comes to belong to, if Validate lets
	// it, and if there is a place in its quota.
	Joins *capsulev1beta2.Tenant
	// Warning is for the requester of a request that passes.
	Warning string
	// Event is for the administrators.
	Event *Event
}

// Event is what is to be told about a Tenant.
type Event struct {
	Tenant *capsulev1beta2.Tenant
	Type   string
	Reason string
	Action string
	Note   string
}

// The reasons and actions of events.
const (
	reasonAssigned = "TenantAssigned"
	reasonPrefix   = "InvalidTenantPrefix"
	reasonFull     = "Overprovisioned"
	reasonCordoned = "Cordoned"
	reasonPatch    = "ReasonNamespacePatch"

	actionMutated = "Mutated"
	actionDenied  = "ValidationDenied"
)

// maxGeneratedBase is how much of a generateName the API server takes over.
const maxGeneratedBase = 63 - 5

// NeedsOwned reports whether the decision takes Facts.Owned: where a capsule user
// leaves it to us to find the Tenant.
func NeedsOwned(r Request, requester tenant.Requester) bool {
	return r.Operation == admissionv1.Create && requester == tenant.CapsuleUser && ClaimOf(r.New).label == ""
}

// Mutate decides what the namespace has to say about its tenant.
func Mutate(r Request, f Facts) Decision {
	d := judge(r, f)
	// A Tenant is joined when the request passes the second phase.
	d.Joins = nil
	return d
}

// Validate decides whether the request passes. Facts.Owned is not asked: a
// namespace that is to be assigned is so by now.
func Validate(r Request, f Facts) Decision {
	if NeedsOwned(r, f.Requester) {
		return refuse("%s was not assigned to a Tenant: another admission webhook removed the label %s: "+
			"ask a cluster administrator", r, capsulev1beta2.TenantLabel)
	}
	d := judge(r, f)
	if d.Refusal == "" && d.Claim != nil {
		return refuse("the label %s and the Tenants among the owners of %s are not as they have to be, "+
			"with one reference to the Tenant that there is: another admission webhook changed them: ask a cluster administrator",
			capsulev1beta2.TenantLabel, r)
	}
	if d.Refusal != "" {
		return d
	}
	t := d.Joins
	if t == nil && r.Operation == admissionv1.Update {
		t = f.belongs(ClaimOf(r.Old))
	}
	if t != nil {
		if refusal := judgeMetadata(r, f, t); refusal.Refusal != "" {
			return refusal
		}
	}
	d.Warning = ""
	return d
}

// judge is the one judgement of both phases. Metadata that tenants forbid,
// require or add is to be judged here, too, once a namespace has its Tenant.
func judge(r Request, f Facts) Decision {
	if f.Config == nil {
		f.Config = tenant.DefaultConfiguration()
	}
	switch r.Operation {
	case admissionv1.Create:
		return create(r, f)
	case admissionv1.Update:
		return update(r, f)
	case admissionv1.Delete:
		return remove(r, f)
	case admissionv1.Connect:
	}
	return Decision{}
}

// remove decides about the deletion of a namespace. Who may delete it RBAC says.
func remove(r Request, f Facts) Decision {
	if f.Requester != tenant.CapsuleUser || r.Old.DeletionTimestamp != nil {
		return Decision{}
	}
	t := f.belongs(ClaimOf(r.Old))
	if t == nil {
		return Decision{}
	}
	return f.refuseIfCordoned(t, r)
}

// belongs returns the Tenant that the claim holds on: it exists, with that UID.
func (f Facts) belongs(c Claim) *capsulev1beta2.Tenant {
	ref, ok := c.Of()
	if !ok {
		return nil
	}
	t := f.Tenants[ref.Name]
	if t == nil || tenant.RefOf(t) != ref {
		return nil
	}
	return t
}

// owns reports whether the requester owns the Tenant.
func (f Facts) owns(t *capsulev1beta2.Tenant, info user.Info) bool {
	switch f.Requester {
	case tenant.Administrator, tenant.Controller:
		return true
	case tenant.CapsuleUser:
		return t != nil && tenant.IsOwner(t, f.Sources, info)
	default:
		return false
	}
}

// base returns the name of the namespace, or as much of it as is known.
func (r Request) base() string {
	if r.Name != "" {
		return r.Name
	}
	return r.GenerateName[:min(len(r.GenerateName), maxGeneratedBase)]
}

// String returns how messages call the namespace.
func (r Request) String() string {
	if r.Name == "" {
		return fmt.Sprintf("namespace %q", r.GenerateName+"*")
	}
	return fmt.Sprintf("namespace %q", r.Name)
}

func refuse(format string, args ...any) Decision {
	return Decision{Refusal: fmt.Sprintf(format, args...)}
}

// on adds an event about the Tenant, if there is one, that says the refusal.
func (d Decision) on(t *capsulev1beta2.Tenant, reason string, info user.Info) Decision {
	if t != nil {
		d.Event = &Event{
			Tenant: t, Type: corev1.EventTypeWarning, Reason: reason, Action: actionDenied,
			Note: fmt.Sprintf("refused to %q: %s", info.GetName(), d.Refusal),
		}
	}
	return d
}

// refuseIfCordoned keeps capsule users from changing anything of a frozen Tenant.
func (f Facts) refuseIfCordoned(t *capsulev1beta2.Tenant, r Request) Decision {
	if !t.Spec.Cordoned {
		return Decision{}
	}
	name := "its tenant"
	if f.owns(t, r.User) {
		name = fmt.Sprintf("tenant %q", t.Name)
	}
	return refuse("%s can neither be created, changed nor deleted, %s is cordoned: "+
		"wait until a cluster administrator sets spec.cordoned of the Tenant to false", r, name).on(t, reasonCordoned, r.User)
}

// listed is how many names a message has at most.
const listed = 10

// list writes names into a message, in order, each with the suffix.
func list(names []string, suffix, conjunction string) string {
	names = slices.Sorted(slices.Values(names))
	quoted := make([]string, 0, listed+1)
	for _, name := range names[:min(len(names), listed)] {
		quoted = append(quoted, strconv.Quote(name+suffix))
	}
	if more := len(names) - listed; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " " + conjunction + " " + quoted[last]
}
