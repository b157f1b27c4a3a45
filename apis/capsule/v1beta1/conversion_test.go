// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/yaml"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

func parse[T any](tb testing.TB, manifest string) *T {
	tb.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(manifest), out); err != nil {
		tb.Fatalf("%v in:\n%s", err, manifest)
	}
	return out
}

// TestUpAsCapsule: Tenants that were written as v1beta1 mean what they mean to Capsule.
func TestUpAsCapsule(t *testing.T) {
	const owner = "spec: {owners: [{kind: User, name: alice}]}\n"
	roles := func(roles, annotations string) string {
		return "metadata: {annotations: {" + annotations + "}}\nspec: {owners: [{kind: User, name: alice, clusterRoles: [" + roles + "]}]}"
	}
	defaults := "admin, capsule-namespace-deleter"
	tests := []struct {
		name, given, want string
	}{
		{"nothing", owner, roles(defaults, "")},
		{
			"roles by index", "metadata: {annotations: {clusterrolenames.capsule.clastix.io/0: 'a,b'}}\n" + owner,
			roles("a, b", "clusterrolenames.capsule.clastix.io/0: 'a,b'"),
		},
		{
			"roles by name first", "metadata: {annotations: {clusterrolenames.capsule.clastix.io/0: a, clusterrolenames.capsule.clastix.io/user.alice: b}}\n" + owner,
			roles("b", "clusterrolenames.capsule.clastix.io/0: a, clusterrolenames.capsule.clastix.io/user.alice: b"),
		},
		{
			"roles of another kind", "metadata: {annotations: {clusterrolenames.capsule.clastix.io/group.alice: a}}\n" + owner,
			roles(defaults, "clusterrolenames.capsule.clastix.io/group.alice: a"),
		},
		{
			"roles by mail address", "metadata: {annotations: {clusterrolenames.capsule.clastix.io/user.alice__AT__example.com: a}}\n" +
				"spec: {owners: [{kind: User, name: Alice@example.com}]}",
			"metadata: {annotations: {clusterrolenames.capsule.clastix.io/user.alice__AT__example.com: a}}\n" +
				"spec: {owners: [{kind: User, name: Alice@example.com, clusterRoles: [a]}]}",
		},
		{
			"cordoned", "metadata: {annotations: {capsule.clastix.io/cordon: 'true'}}\nspec: {owners: []}",
			"spec: {cordoned: true}",
		},
		{
			"not cordoned", "metadata: {annotations: {capsule.clastix.io/cordon: 'false', other: thing}}\nspec: {owners: []}",
			"metadata: {annotations: {other: thing}}\nspec: {}",
		},
		{
			"cordoned by nonsense", "metadata: {annotations: {capsule.clastix.io/cordon: 'yes'}}\nspec: {owners: []}",
			"metadata: {annotations: {capsule.clastix.io/cordon: 'yes'}}\nspec: {}",
		},
		{
			"protected", "metadata: {annotations: {capsule.clastix.io/protected: ''}}\nspec: {owners: []}",
			"spec: {preventDeletion: true}",
		},
		{
			"wildcards", "metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'false'}}\nspec: {owners: [], ingressOptions: {hostnameCollisionScope: Tenant}}",
			"spec: {ingressOptions: {hostnameCollisionScope: Tenant, allowWildcardHostnames: true}}",
		},
		{
			"wildcards without options", "metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'false'}}\nspec: {owners: []}",
			"spec: {ingressOptions: {allowWildcardHostnames: true}}",
		},
		{
			"no wildcards", "metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'true'}}\nspec: {owners: []}",
			"spec: {}",
		},
		{
			"wildcards by nonsense", "metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'no'}}\nspec: {owners: []}",
			"metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'no'}}\nspec: {}",
		},
		{
			"forbidden metadata", `metadata: {annotations: {capsule.clastix.io/forbidden-namespace-labels: "a,b", capsule.clastix.io/forbidden-namespace-labels-regexp: "c,d",
				capsule.clastix.io/forbidden-namespace-annotations: "e", capsule.clastix.io/forbidden-namespace-annotations-regexp: "f"}}
spec: {owners: [], namespaceOptions: {quota: 3}}`,
			"spec: {namespaceOptions: {quota: 3, forbiddenLabels: {denied: [a, b], deniedRegex: 'c,d'}, forbiddenAnnotations: {denied: [e], deniedRegex: f}}}",
		},
		{
			"forbidden metadata without options", "metadata: {annotations: {capsule.clastix.io/forbidden-namespace-labels: a}}\nspec: {owners: []}",
			"metadata: {annotations: {capsule.clastix.io/forbidden-namespace-labels: a}}\nspec: {}",
		},
		{
			"lists", "spec: {owners: [], storageClasses: {allowed: [a], allowedRegex: b}, priorityClasses: {allowed: [c]}, ingressOptions: {allowedClasses: {allowed: [d]}, allowedHostnames: {allowedRegex: e}}}",
			"spec: {storageClasses: {allowed: [a], allowedRegex: b}, priorityClasses: {allowed: [c]}, ingressOptions: {allowedClasses: {allowed: [d]}, allowedHostnames: {allowedRegex: e}}}",
		},
		{"state", "spec: {owners: []}\nstatus: {state: Cordoned, size: 1, namespaces: [a]}", "status: {state: Cordoned, size: 1, namespaces: [a]}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := parse[capsulev1beta2.Tenant](t, tt.want)
			if want.Status.State == "" {
				want.Status.State = capsulev1beta2.TenantStateActive
			}
			if d := diff(t, want, up(t, parse[Tenant](t, tt.given))); d != "" {
				t.Errorf("as v1beta2 (-want +got):\n%s", d)
			}
		})
	}
}

// TestDownAsCapsule: who reads v1beta1 sees what Capsule shows, and one annotation more.
func TestDownAsCapsule(t *testing.T) {
	tests := []struct {
		name, given, want, remainder string
	}{
		{
			"nothing", "{}",
			"metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'true'}}\nspec: {owners: []}\nstatus: {state: Active, size: 0}",
			`{"state":""}`,
		},
		{
			"owners", "spec: {owners: [{kind: User, name: alice, clusterRoles: [admin, capsule-namespace-deleter], proxySettings: [{kind: RuntimeClasses, operations: [List]}]}]}\nstatus: {state: Active, size: 0}",
			`metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'true', clusterrolenames.capsule.clastix.io/0: 'admin,capsule-namespace-deleter'}}
spec: {owners: [{kind: User, name: alice, proxySettings: [{kind: RuntimeClasses, operations: [List]}]}]}
status: {state: Active, size: 0}`,
			`{}`,
		},
		{
			"owners with labels", "spec: {owners: [{kind: User, name: alice, clusterRoles: [a, b], labels: {c: d}}, {kind: Group, name: all, clusterRoles: []}]}\nstatus: {state: Active, size: 0}",
			`metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'true', clusterrolenames.capsule.clastix.io/0: 'a,b'}}
spec: {owners: [{kind: User, name: alice}, {kind: Group, name: all}]}
status: {state: Active, size: 0}`,
			`{"spec":{"owners":[{"kind":"User","name":"alice","clusterRoles":["a","b"],"labels":{"c":"d"}},{"kind":"Group","name":"all","clusterRoles":[]}]}}`,
		},
		{
			"carriers", `spec: {cordoned: true, preventDeletion: true, ingressOptions: {allowWildcardHostnames: true},
  namespaceOptions: {forbiddenLabels: {denied: [a, b], deniedRegex: c}, forbiddenAnnotations: {denied: [d]}}}
status: {state: Cordoned, size: 0}`,
			`metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'false', capsule.clastix.io/cordon: 'true', capsule.clastix.io/protected: 'true',
  capsule.clastix.io/forbidden-namespace-labels: 'a,b', capsule.clastix.io/forbidden-namespace-labels-regexp: c, capsule.clastix.io/forbidden-namespace-annotations: d}}
spec: {owners: [], ingressOptions: {}, namespaceOptions: {}}
status: {state: Cordoned, size: 0}`,
			`{}`,
		},
		{
			"what means something in v1beta1 only", `metadata: {annotations: {capsule.clastix.io/cordon: 'true', capsule.clastix.io/protected: 'true', clusterrolenames.capsule.clastix.io/user.alice: a,
  clusterrolenames.capsule.clastix.io/user.bob: b, clusterrolenames.capsule.clastix.io/user.carol: c, clusterrolenames.capsule.clastix.io/3: d, other: e}}
spec: {owners: [{kind: User, name: alice, clusterRoles: [admin, capsule-namespace-deleter]}, {kind: User, name: bob, clusterRoles: [b]}]}
status: {state: Terminating, size: 0}`,
			`metadata: {annotations: {capsule.clastix.io/deny-wildcard: 'true', clusterrolenames.capsule.clastix.io/0: 'admin,capsule-namespace-deleter', clusterrolenames.capsule.clastix.io/1: b,
  clusterrolenames.capsule.clastix.io/user.bob: b, clusterrolenames.capsule.clastix.io/user.carol: c, other: e}}
spec: {owners: [{kind: User, name: alice}, {kind: User, name: bob}]}
status: {state: Active, size: 0}`,
			`{"annotations":{"capsule.clastix.io/cordon":"true","capsule.clastix.io/protected":"true","clusterrolenames.capsule.clastix.io/3":"d","clusterrolenames.capsule.clastix.io/user.alice":"a"},` +
				`"spec":{"owners":[{"kind":"User","name":"alice","clusterRoles":["admin","capsule-namespace-deleter"]},{"kind":"User","name":"bob","clusterRoles":["b"]}]},"state":"Terminating"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given := parse[capsulev1beta2.Tenant](t, tt.given)
			got := down(t, given)
			if d := diff(t, given, up(t, got)); d != "" {
				t.Errorf("back as v1beta2 (-before +after):\n%s", d)
			}
			if d := cmp.Diff(tt.remainder, got.Annotations[remainderAnnotation]); d != "" {
				t.Errorf("remainder (-want +got):\n%s", d)
			}
			delete(got.Annotations, remainderAnnotation)
			if d := diff(t, parse[Tenant](t, tt.want), got); d != "" {
				t.Errorf("as v1beta1 (-want +got):\n%s", d)
			}
		})
	}
}

// hub is a Tenant with more than v1beta1 can say.
const hub = `
metadata: {name: oil, annotations: {note: kept}}
spec:
  owners:
  - {kind: User, name: alice, clusterRoles: [view], labels: {a: alice}}
  - {kind: User, name: bob, clusterRoles: [edit], annotations: {b: bob}}
  - {kind: Group, name: all, clusterRoles: []}
  permissions: {matchOwners: [{matchLabels: {team: oil}}], allowOwnerPromotion: false}
  rules: [{enforce: {action: audit}}]
  data: {any: thing}
  namespaceOptions:
    quota: 3
    additionalMetadataList: [{labels: {a: b}}]
    forbiddenLabels: {denied: ["a,b"]}
    requiredMetadata: {labels: {env: prod}}
    managedMetadataOnly: true
  storageClasses: {allowed: [a], default: a, matchLabels: {env: prod}}
  priorityClasses: {matchExpressions: [{key: a, operator: Exists}]}
  runtimeClasses: {allowed: [c]}
  gatewayOptions: {allowedClasses: {default: d}}
  deviceClasses: {allowed: [e]}
  ingressOptions: {allowedClasses: {allowed: [f], default: f}, allowWildcardHostnames: true, hostnameCollisionScope: Tenant}
  podOptions: {additionalMetadata: {labels: {a: b}}}
  nodeSelector: {pool: oil}
  forceTenantPrefix: true
  preventDeletion: true
status:
  state: Terminating
  size: 2
  namespaces: [oil-dev, oil-prod]
  spaces: [{name: oil-dev, uid: "1", enforce: {any: thing}}]
  owners: [{kind: User, name: alice, clusterRoles: [view]}]
  promotions: [{kind: ServiceAccount, name: "system:serviceaccount:oil-dev:ci", clusterRoles: [edit], targets: [oil-dev]}]
  classes: {storage: [a]}
  observedGeneration: 7
  conditions: [{type: Ready, status: "True", reason: Succeeded, message: reconciled, lastTransitionTime: "2026-01-02T03:04:05Z"}]
  namespaceReservations: [{name: oil-test, time: "2026-01-02T03:04:05.000006Z"}]
`

// TestWriterOfV1beta1: who reads a Tenant as v1beta1, changes something and writes it
// back changes that, and nothing else.
func TestWriterOfV1beta1(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Tenant)
		want   func(*capsulev1beta2.Tenant)
	}{
		{"nothing", func(*Tenant) {}, func(*capsulev1beta2.Tenant) {}},
		{
			"node selector",
			func(t *Tenant) { t.Spec.NodeSelector = map[string]string{"pool": "gas"} },
			func(t *capsulev1beta2.Tenant) { t.Spec.NodeSelector = map[string]string{"pool": "gas"} },
		},
		{
			"first owner gone",
			func(t *Tenant) { t.Spec.Owners = t.Spec.Owners[1:] },
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners = t.Spec.Owners[1:] },
		},
		{
			"first owner gone, annotations moved up",
			func(t *Tenant) {
				t.Spec.Owners = t.Spec.Owners[1:]
				t.Annotations[rolesByIndex(0)] = t.Annotations[rolesByIndex(1)]
				delete(t.Annotations, rolesByIndex(1))
			},
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners = t.Spec.Owners[1:] },
		},
		{
			"first owner gone, with the annotation",
			func(t *Tenant) {
				t.Spec.Owners = t.Spec.Owners[1:]
				delete(t.Annotations, rolesByIndex(0))
			},
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners = t.Spec.Owners[1:] },
		},
		{
			"owners turned round",
			func(t *Tenant) { t.Spec.Owners[0], t.Spec.Owners[2] = t.Spec.Owners[2], t.Spec.Owners[0] },
			func(t *capsulev1beta2.Tenant) {
				t.Spec.Owners[0], t.Spec.Owners[2] = t.Spec.Owners[2], t.Spec.Owners[0]
			},
		},
		{
			"new owner in front",
			func(t *Tenant) { t.Spec.Owners = append([]OwnerSpec{owner("carol")}, t.Spec.Owners...) },
			func(t *capsulev1beta2.Tenant) {
				t.Spec.Owners = append([]capsulev1beta2.OwnerSpec{ownerWith("carol", defaultRoles()...)}, t.Spec.Owners...)
			},
		},
		{
			"new owner at the end, with roles",
			func(t *Tenant) {
				t.Spec.Owners = append(t.Spec.Owners, owner("carol"))
				t.Annotations[rolesByIndex(3)] = "view"
			},
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners = append(t.Spec.Owners, ownerWith("carol", "view")) },
		},
		{
			"owner in the place of another",
			func(t *Tenant) { t.Spec.Owners[0] = owner("carol") },
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners[0] = ownerWith("carol", "view") },
		},
		{
			"roles by index",
			func(t *Tenant) { t.Annotations[rolesByIndex(1)] = "admin" },
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners[1].ClusterRoles = []string{"admin"} },
		},
		{
			"roles for who had none",
			func(t *Tenant) { t.Annotations[rolesByIndex(2)] = "admin" },
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners[2].ClusterRoles = []string{"admin"} },
		},
		{
			"roles by name",
			func(t *Tenant) { t.Annotations[rolesPrefix+"user.bob"] = "admin" },
			func(t *capsulev1beta2.Tenant) {
				t.Spec.Owners[1].ClusterRoles = []string{"admin"}
				t.Annotations[rolesPrefix+"user.bob"] = "admin"
			},
		},
		{
			"no roles said",
			func(t *Tenant) { delete(t.Annotations, rolesByIndex(1)) },
			func(t *capsulev1beta2.Tenant) { t.Spec.Owners[1].ClusterRoles = defaultRoles() },
		},
		{
			"storage classes",
			func(t *Tenant) { t.Spec.StorageClasses.Allowed = []string{"b"} },
			func(t *capsulev1beta2.Tenant) { t.Spec.StorageClasses.Allowed = []string{"b"} },
		},
		{
			"no storage classes",
			func(t *Tenant) { t.Spec.StorageClasses = nil },
			func(t *capsulev1beta2.Tenant) { t.Spec.StorageClasses = nil },
		},
		{
			"no ingress options",
			func(t *Tenant) {
				t.Spec.IngressOptions = nil
				t.Annotations[denyWildcardAnnotation] = "true"
			},
			func(t *capsulev1beta2.Tenant) { t.Spec.IngressOptions = nil },
		},
		{
			"no namespace options",
			func(t *Tenant) { t.Spec.NamespaceOptions = nil },
			func(t *capsulev1beta2.Tenant) { t.Spec.NamespaceOptions.Quota = nil },
		},
		{
			"forbidden labels",
			func(t *Tenant) { t.Annotations[labelsCarrier.exact] = "c" },
			func(t *capsulev1beta2.Tenant) { t.Spec.NamespaceOptions.ForbiddenLabels.Denied = []string{"c"} },
		},
		{
			"no forbidden labels",
			func(t *Tenant) { delete(t.Annotations, labelsCarrier.exact) },
			func(t *capsulev1beta2.Tenant) { t.Spec.NamespaceOptions.ForbiddenLabels = nil },
		},
		{
			"cordoned, not protected",
			func(t *Tenant) {
				t.Annotations[cordonAnnotation] = "true"
				delete(t.Annotations, protectedAnnotation)
			},
			func(t *capsulev1beta2.Tenant) { t.Spec.Cordoned, t.Spec.PreventDeletion = true, false },
		},
		{
			"annotations",
			func(t *Tenant) {
				delete(t.Annotations, "note")
				t.Annotations["other"] = "thing"
			},
			func(t *capsulev1beta2.Tenant) { t.Annotations = map[string]string{"other": "thing"} },
		},
		{
			"status",
			func(t *Tenant) {
				t.Status = TenantStatus{State: TenantStateCordoned, Size: 1, Namespaces: []string{"oil-dev"}}
			},
			func(t *capsulev1beta2.Tenant) {
				t.Status.State, t.Status.Size, t.Status.Namespaces = capsulev1beta2.TenantStateCordoned, 1, []string{"oil-dev"}
			},
		},
		{
			"v1beta2 put away",
			func(t *Tenant) { delete(t.Annotations, remainderAnnotation) },
			func(t *capsulev1beta2.Tenant) {
				t.Annotations = map[string]string{"note": "kept", rolesByIndex(0): "view", rolesByIndex(1): "edit"}
				t.Spec = capsulev1beta2.TenantSpec{
					Owners: []capsulev1beta2.OwnerSpec{
						ownerWith("alice", "view"), ownerWith("bob", "edit"),
						{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{
							UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.GroupOwner, Name: "all"}, ClusterRoles: defaultRoles(),
						}},
					},
					NamespaceOptions: &capsulev1beta2.NamespaceOptions{
						Quota: t.Spec.NamespaceOptions.Quota, ForbiddenLabels: &capsulev1beta2.ForbiddenList{Denied: []string{"a", "b"}},
					},
					StorageClasses:  &capsulev1beta2.DefaultAllowedList{},
					PriorityClasses: &capsulev1beta2.DefaultAllowedList{},
					IngressOptions: &capsulev1beta2.IngressOptions{
						AllowedClasses: &capsulev1beta2.DefaultAllowedList{}, AllowWildcardHostnames: true,
						HostnameCollisionScope: capsulev1beta2.HostnameCollisionScopeTenant,
					},
					NodeSelector:    t.Spec.NodeSelector,
					PreventDeletion: true,
				}
				t.Spec.StorageClasses.Allowed = []string{"a"}
				t.Spec.IngressOptions.AllowedClasses.Allowed = []string{"f"}
				t.Status = capsulev1beta2.TenantStatus{State: capsulev1beta2.TenantStateActive, Size: 2, Namespaces: t.Status.Namespaces}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := parse[capsulev1beta2.Tenant](t, hub)
			written := down(t, want)
			tt.change(written)
			tt.want(want)
			if d := diff(t, want, up(t, written)); d != "" {
				t.Errorf("as v1beta2 (-want +got):\n%s\nwritten:\n%s", d, toJSON(t, written))
			}
		})
	}
}

// TestNamespaceOptionsRemoved: those for which annotations stand are said elsewhere.
func TestNamespaceOptionsRemoved(t *testing.T) {
	want := parse[capsulev1beta2.Tenant](t, "spec: {namespaceOptions: {quota: 3, forbiddenLabels: {denied: [a]}}}")
	written := down(t, want)
	written.Spec.NamespaceOptions = nil
	want.Spec.NamespaceOptions.Quota = nil
	if d := diff(t, want, up(t, written)); d != "" {
		t.Errorf("as v1beta2 (-want +got):\n%s", d)
	}
}

func owner(name string) OwnerSpec {
	return OwnerSpec{UserSpec: capsulev1beta2.UserSpec{Kind: capsulev1beta2.UserOwner, Name: name}}
}

func ownerWith(name string, roles ...string) capsulev1beta2.OwnerSpec {
	return capsulev1beta2.OwnerSpec{CoreOwnerSpec: capsulev1beta2.CoreOwnerSpec{UserSpec: owner(name).UserSpec, ClusterRoles: roles}}
}

// TestMalformedRemainder: what cannot be read is refused, rather than lost.
func TestMalformedRemainder(t *testing.T) {
	tests := map[string]string{
		"":                        "EOF",
		"nonsense":                "invalid character",
		"[]":                      "cannot unmarshal array",
		"{} {}":                   "something follows the JSON object",
		`{"spec":{"quotas":1}}`:   `unknown field "quotas"`,
		`{"spec":{"owners":1}}`:   "cannot unmarshal number",
		`{"gzip":"bm9uc2Vuc2U="}`: "gzip",
		`{"gzip":"%"}`:            "illegal base64",
	}
	for packed, want := range tests {
		given := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "oil", Annotations: map[string]string{remainderAnnotation: packed}}}
		err := given.ConvertTo(&capsulev1beta2.Tenant{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"oil"`) || !strings.Contains(err.Error(), remainderAnnotation) {
			t.Errorf("%q: %v, want an error with %q, the Tenant and the annotation", packed, err, want)
		}
	}
}

// TestManyNamespaces: however much there is to carry, a Tenant can be read.
func TestManyNamespaces(t *testing.T) {
	big := parse[capsulev1beta2.Tenant](t, hub)
	for i := range 3000 {
		big.Status.Spaces = append(big.Status.Spaces, capsulev1beta2.Space{
			Name: fmt.Sprintf("oil-%d", i), UID: uuid.NewUUID(),
			Conditions: []metav1.Condition{{
				Type: "Ready", Status: metav1.ConditionTrue, Reason: capsulev1beta2.SucceededReason, Message: "reconciled",
				LastTransitionTime: metav1.NewTime(time.Unix(int64(i), 0)),
			}},
			Metadata: &capsulev1beta2.SpaceMetadata{Labels: map[string]string{capsulev1beta2.TenantLabel: "oil"}},
		})
	}
	got := down(t, big)
	if size := len(got.Annotations[remainderAnnotation]); size > 200<<10 {
		t.Errorf("the annotation has %d bytes", size)
	}
	if d := diff(t, throughJSON(t, big), up(t, got)); d != "" {
		t.Errorf("back as v1beta2 (-before +after):\n%s", d)
	}

	// More than fits: the controller can find out again what is known of namespaces.
	for i := range big.Status.Spaces {
		big.Status.Spaces[i].UID = types.UID(noise(t, 200))
	}
	got = down(t, big)
	big.Status.Spaces = nil
	if d := diff(t, throughJSON(t, big), up(t, got)); d != "" {
		t.Errorf("back as v1beta2, without spaces (-before +after):\n%s", d)
	}

	big.Spec.PodOptions.AdditionalMetadata.Annotations = map[string]string{"noise": noise(t, validation.TotalAnnotationSizeLimitB)}
	err := (&Tenant{}).ConvertFrom(big)
	if err == nil || !strings.Contains(err.Error(), "read the Tenant as v1beta2") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func noise(tb testing.TB, n int) string {
	tb.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// other is a hub of another kind.
type other struct {
	runtime.Object
}

func (other) Hub() {}

func TestOtherHub(t *testing.T) {
	tenant := &Tenant{}
	if err := tenant.ConvertTo(other{}); err == nil {
		t.Error("ConvertTo took another hub")
	}
	if err := tenant.ConvertFrom(other{}); err == nil {
		t.Error("ConvertFrom took another hub")
	}
}

// FuzzRemainder: whatever the annotation says is read or refused, and what is read is
// written again as it is.
func FuzzRemainder(f *testing.F) {
	for _, seed := range []string{
		"{}", "null", `{"state":"Terminating"}`, `{"annotations":{"a":"b"}}`, `{"gzip":"H4sIAAAAAAAA/6uuBQBDv6ajAgAAAA=="}`,
		`{"spec":{"owners":[{"kind":"User","name":"alice","clusterRoles":[]}],"data":{"a":[1]}},"status":{"size":1}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, packed string) {
		rest, err := parseRemainder(packed)
		if err != nil {
			return
		}
		written, err := marshalRemainder(rest)
		if err != nil {
			t.Skip("there is JSON that is read and cannot be written, such as years of five digits")
		}
		again, err := parseRemainder(written)
		if err != nil {
			t.Fatalf("%s: written as %s: %v", packed, written, err)
		}
		if d := diff(t, rest, again); d != "" {
			t.Errorf("%s (-read +again):\n%s", packed, d)
		}
	})
}

// FuzzCarriers: whatever annotations say, the Tenant is converted and, once it was,
// converts back and forth without a change.
func FuzzCarriers(f *testing.F) {
	f.Add("alice", "user.alice", "admin,view", "true", "a,b")
	f.Add("a@b", "user.a__AT__b", "", "false", "")
	f.Add("bob", "0", ",", "nonsense", ",")
	f.Fuzz(func(t *testing.T, name, key, roles, flag, list string) {
		given := throughJSON(t, &Tenant{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
				rolesPrefix + key: roles, rolesByIndex(len(list) % 3): list,
				cordonAnnotation: flag, denyWildcardAnnotation: flag, protectedAnnotation: flag,
				labelsCarrier.exact: list, annotationsCarrier.regex: list,
			}},
			Spec: TenantSpec{Owners: []OwnerSpec{owner(name), owner(list)}, NamespaceOptions: &NamespaceOptions{}},
		})
		converted := up(t, given)
		if d := diff(t, converted, up(t, down(t, converted))); d != "" {
			t.Errorf("v1beta2 through v1beta1 (-before +after):\n%s", d)
		}
		if cordoned, _ := strconv.ParseBool(flag); converted.Spec.Cordoned != cordoned {
			t.Errorf("cordoned: %t by %q", converted.Spec.Cordoned, flag)
		}
	})
}
