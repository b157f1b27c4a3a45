// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps account of how much of a quota that the namespaces of a
// Tenant share is granted to each of them.
//
// What a namespace uses says the status of its ResourceQuota, which the API server
// raises when it admits an object, whatever the other namespaces use. A webhook asks
// the ledger about that, see package resourcequotas; the controller of quotas hands
// grants out ahead, so that few requests have to be asked about, and takes back what
// is not used.
//
// Invariants, for each resource of a shared quota:
//   - The grant of a namespace is not below what its ResourceQuota says that it may
//     use without being asked about: a grant is raised before the ResourceQuota says
//     so, and lowered when it has not said so for a while.
//   - A grant is raised only if all that is granted, or used beyond that, is within
//     the limit then. Whatever is written has been computed from what it replaces.
//   - What was approved of is written together with a token, into the revision that
//     was judged or not at all: whether it was can be told from each later revision.
//   - What kube-controller-manager has counted is trusted only if it counted after
//     every object that was let in could be seen: it may count between the moment
//     that an object is admitted and the moment that it is stored, and then not
//     again for minutes. Until that is so a grant is not settled, is not lowered, and
//     grows with each growth that is asked about, even of what was counted too low.
//
// One thing is not covered: about what is granted ahead nobody is asked, so a namespace
// that was counted too low may use that much more. It is counted again when little is
// left, and then so much less is granted; a tenant that uses up all the rest within
// these seconds is over its limit.
package ledger

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

const (
	// Hold is how long a grant stays as it is after it was raised: what was let in is
	// stored, and known to kube-controller-manager, by then.
	Hold = 5 * time.Second
	// shortFor is how long nothing is handed out ahead after there was not enough for
	// somebody else, and remarked how often that is written at most.
	shortFor, remarked = time.Minute, 10 * time.Second
)

// Grant is what a namespace may use of a resource.
type Grant struct {
	// Granted is the most that it uses, or may come to use, without being asked
	// about.
	Granted resource.Quantity `json:"granted"`
	// Ahead is true from before its ResourceQuota says how much is granted until
	// after it has ceased to.
	Ahead bool `json:"ahead,omitempty"`
	// Raised is when it was raised last, or ceased to be ahead. Nil is a grant that
	// is settled: whatever was let in by it is in what is used.
	Raised *metav1.MicroTime `json:"raised,omitempty"`
}

// Held reports whether the grant has to stay as it is, and until when.
func (g Grant) Held(now time.Time) (until time.Time, held bool) {
	if g.Raised == nil {
		return time.Time{}, false
	}
	until = g.Raised.Add(Hold)
	// Another replica's clock may be ahead of ours, not by that much.
	return until, now.Before(until) && until.Sub(now) <= 2*Hold
}

// Token tells the grant, as it was raised last, from itself at other times.
func (g Grant) Token() string {
	if g.Raised == nil {
		return "settled"
	}
	return g.Raised.UTC().Format(metav1.RFC3339Micro)
}

// Raise makes it a grant of so much, that is not settled.
func (g Grant) Raise(granted resource.Quantity, now time.Time) Grant {
	// As precise as it is stored.
	raised := metav1.NewMicroTime(now.UTC().Truncate(time.Microsecond))
	return Grant{Granted: granted, Ahead: g.Ahead, Raised: &raised}
}

// Grants are those of one namespace.
type Grants map[corev1.ResourceName]Grant

// Account is what is known of one namespace.
type Account struct {
	// UID is that of its ResourceQuota.
	UID    types.UID `json:"uid,omitempty"`
	Grants Grants    `json:"grants,omitempty"`
	// Revision is the last one of its ResourceQuota that a grant was raised or settled
	// for.
	Revision string `json:"revision,omitempty"`
	// Pending is what was approved of for that revision, and may not be written yet.
	Pending *Pending `json:"pending,omitempty"`
}

// Pending is an approval.
type Pending struct {
	// UID is that of the ResourceQuota, and Token is in it if what was approved of has
	// been written.
	UID   types.UID `json:"uid"`
	Token string    `json:"token"`
	// Before are the grants that it has raised, to be put back if it was not.
	Before Grants `json:"before"`
}

// Used is what each namespace uses.
type Used map[string]corev1.ResourceList

// Ledger holds the grants of one quota. It may not be used concurrently.
type Ledger struct {
	// Accounts are those of the namespaces. What is missing is a settled grant of
	// nothing.
	Accounts map[string]*Account
	// Short says when there was last not enough of a resource for a namespace because
	// of what was granted and not used.
	Short map[corev1.ResourceName]metav1.MicroTime

	// stored is nil if the ledger is not stored yet.
	stored *corev1.ConfigMap
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{Accounts: map[string]*Account{}, Short: map[corev1.ResourceName]metav1.MicroTime{}}
}

// Of returns the grant of a namespace.
func (l *Ledger) Of(namespace string, name corev1.ResourceName) Grant {
	return l.Grants(namespace)[name]
}

// Grants returns those of a namespace, which callers must not modify.
func (l *Ledger) Grants(namespace string) Grants {
	if account := l.Accounts[namespace]; account != nil {
		return account.Grants
	}
	return nil
}

// Set replaces the grant of a namespace. What was approved of before stays in it.
func (l *Ledger) Set(namespace string, name corev1.ResourceName, grant Grant) {
	account := l.account(namespace)
	if account.Pending != nil {
		delete(account.Pending.Before, name)
	}
	if grant.Raised == nil && !grant.Ahead && grant.Granted.Sign() <= 0 {
		delete(account.Grants, name)
		return
	}
	account.Grants[name] = grant
}

// Settle makes a grant what is used, or may be without being asked about, as a
// revision of the ResourceQuota says.
func (l *Ledger) Settle(quota *corev1.ResourceQuota, name corev1.ResourceName) {
	ahead := l.Of(quota.Namespace, name).Ahead
	granted := quota.Status.Used[name]
	if ahead {
		granted = larger(granted, GrantedBy(quota)[name])
	}
	l.Set(quota.Namespace, name, Grant{Granted: granted, Ahead: ahead})
	if account := l.account(quota.Namespace); order(quota.ResourceVersion, account.Revision) > 0 {
		account.Revision = quota.ResourceVersion
	}
}

func (l *Ledger) account(namespace string) *Account {
	account := l.Accounts[namespace]
	if account == nil {
		account = &Account{}
		l.Accounts[namespace] = account
	}
	if account.Grants == nil {
		account.Grants = Grants{}
	}
	return account
}

// Meet takes notice of a ResourceQuota that has been made. What was counted at first
// may be too little: what is limited is to be settled.
func (l *Ledger) Meet(quota *corev1.ResourceQuota, limits corev1.ResourceList, now time.Time) {
	account := l.account(quota.Namespace)
	if account.UID == quota.UID {
		return
	}
	account.UID = quota.UID
	for name := range limits {
		grant := account.Grants[name]
		l.Set(quota.Namespace, name, grant.Raise(grant.Granted, now))
	}
}

// Resolve finds out from a ResourceQuota what became of what was approved of last for
// its namespace. A write that was to replace a revision which something else has
// replaced will never be made: what it was granted is put back.
func (l *Ledger) Resolve(quota *corev1.ResourceQuota) {
	account := l.Accounts[quota.Namespace]
	if account == nil || account.Pending == nil || order(quota.ResourceVersion, account.Revision) <= 0 {
		return
	}
	// One that was made since says nothing about it.
	if quota.UID == account.Pending.UID && quota.Annotations[ApprovedAnnotation] != account.Pending.Token {
		for name, before := range account.Pending.Before {
			before.Ahead = account.Grants[name].Ahead
			l.Set(quota.Namespace, name, before)
		}
	}
	account.Pending = nil
}

// order compares revisions. No revision is before every other one.
func order(a, b string) int {
	if a == "" || b == "" {
		return strings.Compare(a, b)
	}
	result, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return 0 // nothing is known to have changed
	}
	return result
}

// IsShort reports whether there was not enough of a resource lately.
func (l *Ledger) IsShort(name corev1.ResourceName, now time.Time) bool {
	age := now.Sub(l.Short[name].Time)
	return age < shortFor && age > -shortFor
}

// Fits reports whether a namespace can have so much next to what is granted to the
// others, or used by them.
func (l *Ledger) Fits(name corev1.ResourceName, limit resource.Quantity, used Used, namespace string, granted resource.Quantity) bool {
	sum := granted.DeepCopy()
	for other := range everyone(l.Accounts, used) {
		if other != namespace {
			sum.Add(larger(used[other][name], l.Of(other, name).Granted))
		}
	}
	return sum.Cmp(limit) <= 0
}

func everyone(accounts map[string]*Account, used Used) iter.Seq[string] {
	return func(yield func(string) bool) {
		for namespace := range accounts {
			if !yield(namespace) {
				return
			}
		}
		for namespace := range used {
			if _, ok := accounts[namespace]; !ok && !yield(namespace) {
				return
			}
		}
	}
}

func larger(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

// shortKey is that of what there was not enough of, next to the names of namespaces,
// none of which it can be.
const shortKey = "_short"

// encode returns the ledger as the data of a ConfigMap.
func (l *Ledger) encode() (map[string]string, error) {
	data := make(map[string]string, len(l.Accounts)+1)
	for namespace, account := range l.Accounts {
		if len(account.Grants) == 0 && account.Pending == nil && account.UID == "" {
			continue // as if it was missing
		}
		text, err := json.Marshal(account)
		if err != nil {
			return nil, fmt.Errorf("encode account of namespace %s: %w", namespace, err)
		}
		data[namespace] = string(text)
	}
	if len(l.Short) > 0 {
		text, err := json.Marshal(l.Short)
		if err != nil {
			return nil, fmt.Errorf("encode what there is not enough of: %w", err)
		}
		data[shortKey] = string(text)
	}
	return data, nil
}

func decode(stored *corev1.ConfigMap) (*Ledger, error) {
	l := New()
	l.stored = stored
	for key, text := range stored.Data {
		if key == shortKey {
			if err := json.Unmarshal([]byte(text), &l.Short); err != nil {
				return nil, fmt.Errorf("decode what there is not enough of: %w", err)
			}
			continue
		}
		account := &Account{}
		if err := json.Unmarshal([]byte(text), account); err != nil {
			return nil, fmt.Errorf("decode account of namespace %s: %w", key, err)
		}
		l.Accounts[key] = account
	}
	return l, nil
}

// Changed reports whether the ledger says something else than what is stored.
func (l *Ledger) Changed() (bool, error) {
	data, err := l.encode()
	if err != nil {
		return false, err
	}
	return l.stored == nil || !maps.Equal(data, l.stored.Data), nil
}

// The annotations of a ResourceQuota that the grants are about.
const (
	// GrantedAnnotation says how much its namespace may use of which resources
	// without being asked about, as in "pods=5,requests.cpu=2". It is a list that the
	// webhook's conditions can read.
	GrantedAnnotation = "quota.tenancy.capsule.io/granted"
	// ApprovedAnnotation is the token of the last approval that was written.
	ApprovedAnnotation = "quota.tenancy.capsule.io/approved"
	// SettlingAnnotation says of which resources kube-controller-manager is asked to
	// count what is used, by a limit that is another one than before, and for which
	// grant.
	SettlingAnnotation = "quota.tenancy.capsule.io/settling"
)

// FormatList returns pairs as an annotation has them, in order, "" if there are none.
func FormatList(pairs map[corev1.ResourceName]string) string {
	names := sortedNames(pairs)
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name) + "=" + pairs[name]
	}
	return strings.Join(list, ",")
}

// ParseList is the inverse. What is no pair is left out.
func ParseList(text string) map[corev1.ResourceName]string {
	pairs := map[corev1.ResourceName]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			pairs[corev1.ResourceName(name)] = value
		}
	}
	return pairs
}

// GrantedBy returns what a ResourceQuota says is granted. What is no quantity is
// left out: it grants nothing.
func GrantedBy(quota metav1.Object) corev1.ResourceList {
	granted := corev1.ResourceList{}
	for name, value := range ParseList(quota.GetAnnotations()[GrantedAnnotation]) {
		if quantity, err := resource.ParseQuantity(value); err == nil {
			granted[name] = quantity
		}
	}
	return granted
}
