// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/tenant"
	"tenancy.capsule.io/test/framework"
	"tenancy.capsule.io/test/framework/controlplane"
)

// The groups of the examples from Azure.
const (
	aksUsers   = "03c9ccac-5b1e-4a51-9d0b-6a3f2a9d3f10"
	aksDev     = "0fd5e5bb-39bb-468c-b343-dcdfb01e92d0"
	aksStaging = "7c1f9d0e-2f0b-4c39-9f5e-5a2d3f7f4b11"
)

// noResources is what kubectl says of an empty list.
const noResources = "No resources found\n"

// login is a way in which users show who they are.
type login struct {
	// kubectl asks the API server, and native asks it through the proxy.
	kubectl, native func(tb testing.TB, user string, groups ...string) *framework.Kubectl
	byToken         bool
}

// forEachLogin runs a test with each of them.
func forEachLogin(t *testing.T, test func(t *testing.T, login login)) {
	t.Helper()
	t.Run("certificate", func(t *testing.T) { test(t, login{kubectl: system.Kubectl, native: proxy.Kubectl}) })
	t.Run("token", func(t *testing.T) {
		test(t, login{kubectl: system.TokenKubectl, native: proxy.TokenKubectl, byToken: true})
	})
}

// example returns the path of an example.
func example(t testing.TB, name string) string {
	t.Helper()
	root, err := controlplane.RepoRoot()
	require.NoError(t, err)
	return filepath.Join(root, "artifacts", "examples", name)
}

// apply has an administrator apply examples as they are, and returns what kubectl
// wrote to standard error. What they define is gone when the test is over.
func apply(t testing.TB, admin cli, names ...string) (stderr string) {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		file := example(t, name)
		t.Cleanup(func() { remove(t, file) })
		_, warnings, err := admin.Run(t, "apply", "-f", file)
		require.NoError(t, err, warnings)
		all.WriteString(warnings)
	}
	return all.String()
}

// applyText is apply for a manifest that is no example.
func applyText(t testing.TB, admin cli, manifest string) {
	t.Helper()
	file := writeFile(t, manifest)
	t.Cleanup(func() { remove(t, file) })
	admin.Output(t, "apply", "-f", file)
}

// objectsIn returns the objects of a manifest.
func objectsIn(t testing.TB, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		objects = append(objects, object)
	}
}

// remove deletes what a manifest defines, and waits until it is gone.
func remove(t testing.TB, file string) {
	t.Helper()
	c, ctx := admin(t), context.WithoutCancel(t.Context())
	objects := objectsIn(t, file)
	for _, object := range objects {
		if err := c.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	for _, object := range objects {
		switch object.GetKind() {
		case "Tenant":
			system.DeleteTenant(t, object.GetName())
		case "CapsuleConfiguration":
			awaitDefaultConfiguration(t)
		default:
			awaitGone(t, object)
		}
	}
}

// awaitDefaultConfiguration waits until the controller has made the configuration
// that is missing.
func awaitDefaultConfiguration(t testing.TB) {
	t.Helper()
	c := admin(t)
	await(t, "groups of users in the configuration", tenant.Users(tenant.DefaultConfiguration()), func(ctx context.Context) ([]capsulev1beta2.UserSpec, error) {
		var configuration capsulev1beta2.CapsuleConfiguration
		if err := c.Get(ctx, client.ObjectKey{Name: capsulev1beta2.DefaultConfigurationName}, &configuration); err != nil {
			return nil, err
		}
		// Of the present one, not of one that is about to go.
		if configuration.Status.ObservedGeneration != configuration.Generation || configuration.Spec.ForceTenantPrefix {
			return nil, nil
		}
		return configuration.Status.Users, nil
	})
}

// awaitTable waits until kubectl prints these cells.
func awaitTable(t testing.TB, kubectl cli, want [][]string, args ...string) {
	t.Helper()
	await(t, strings.Join(args, " "), want, func(context.Context) ([][]string, error) {
		return table(kubectl.Output(t, args...)), nil
	})
}

// awaitNames waits until kubectl prints these names, and nothing else.
func awaitNames(t testing.TB, kubectl cli, resource string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	await(t, "get "+resource, want, func(context.Context) ([]string, error) {
		names := []string{}
		for line := range strings.Lines(kubectl.Output(t, "get", resource, "-o", "name")) {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "/")
			names = append(names, name)
		}
		return names, nil
	})
}

// requireRefused holds that kubectl fails, and that it says why.
func requireRefused(t testing.TB, kubectl cli, message string, args ...string) (stderr string) {
	t.Helper()
	_, stderr, err := kubectl.Run(t, args...)
	require.Error(t, err, "kubectl %q", args)
	require.Contains(t, stderr, message, "kubectl %q", args)
	return stderr
}

const forbidden = "Error from server (Forbidden)"

// awaitCan waits until the API server says that something is allowed.
func awaitCan(t testing.TB, kubectl cli, args ...string) {
	t.Helper()
	await(t, "auth can-i "+strings.Join(args, " "), "yes\n", func(context.Context) (string, error) {
		// It fails if the answer is no.
		stdout, _, _ := kubectl.Run(t, append([]string{"auth", "can-i"}, args...)...)
		return stdout, nil
	})
}

func TestExampleAKS(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin := login.kubectl(t, clusterAdmin)
		apply(t, admin, "capsuleconfiguration-aks.yaml", "tenant-aks.yaml")
		awaitTable(t, admin, [][]string{
			{"NAME", "STATE", "NAMESPACE QUOTA", "NAMESPACE COUNT", "NODE SELECTOR"},
			{"dev", "Active", "", "0", ""},
			{"staging", "Active", "", "0", ""},
		}, "get", "tenants")
		require.True(t, strings.HasSuffix(strings.TrimSpace(strings.SplitN(admin.Output(t, "get", "tenants"), "\n", 2)[0]), " AGE"), "the last column is the age")
		await(t, "get tenants -o wide", [][]string{
			{"NAME", "STATE", "NAMESPACE QUOTA", "NAMESPACE COUNT", "NODE SELECTOR", "READY"},
			{"dev", "Active", "", "0", "", "True"},
			{"staging", "Active", "", "0", "", "True"},
		}, func(context.Context) ([][]string, error) {
			rows := table(admin.Output(t, "get", "tenants", "-o", "wide"))
			require.Equal(t, "STATUS", rows[0][len(rows[0])-1])
			for i := range rows {
				rows[i] = rows[i][:len(rows[i])-1] // a sentence
			}
			return rows, nil
		})

		dev := login.kubectl(t, "capsule-user-dev@example.com", aksUsers, aksDev)
		staging := login.kubectl(t, "capsule-user-staging@example.com", aksUsers, aksStaging)
		awaitCan(t, dev, "create", "namespaces")
		// The configuration is read from a cache: until it knows of the prefix,
		// nothing is created.
		await(t, "refusal of demo", true, func(context.Context) (bool, error) {
			_, stderr, err := dev.Run(t, "create", "ns", "demo", "--dry-run=server")
			return err != nil && strings.Contains(stderr, `must begin with "dev-"`), nil
		})
		refusal := requireRefused(t, dev, forbidden, "create", "ns", "demo")
		require.Contains(t, refusal, `"dev-"`)
		require.NotContains(t, refusal, "staging", "a refusal names no Tenant of others")
		require.Equal(t, "namespace/dev-demo created\n", dev.Output(t, "create", "ns", "dev-demo"))
		requireRefused(t, dev, forbidden, "get", "po", "--namespace=default")
		requireRefused(t, dev, forbidden, "get", "ns")

		awaitTable(t, dev, [][]string{{"NAME", "STATUS", "TENANT"}, {"dev-demo", "Active", "dev"}}, "get", "tenantnamespaces")
		awaitTable(t, admin, [][]string{
			{"NAME", "STATE", "NAMESPACE QUOTA", "NAMESPACE COUNT", "NODE SELECTOR"},
			{"dev", "Active", "", "1", ""},
			{"staging", "Active", "", "0", ""},
		}, "get", "tenants")
		stdout, stderr, err := staging.Run(t, "get", "tenantnamespaces")
		require.NoError(t, err)
		require.Empty(t, stdout)
		require.Equal(t, noResources, stderr)
		requireRefused(t, staging, forbidden, "get", "ns", "dev-demo")

		native := login.native(t, "capsule-user-dev@example.com", aksUsers, aksDev)
		awaitTable(t, native, [][]string{{"NAME", "STATUS"}, {"dev-demo", "Active"}}, "get", "ns")
		requireRefused(t, native, forbidden, "get", "po", "--namespace=default")
		require.Contains(t, requireRefused(t, native, forbidden, "create", "ns", "demo"), `"dev-"`)
		native = login.native(t, "capsule-user-staging@example.com", aksUsers, aksStaging)
		awaitNames(t, native, "ns")
		requireRefused(t, native, `namespaces "dev-demo" not found`, "get", "ns", "dev-demo")
		// What the owner does there is its own business.
		awaitCan(t, dev, "create", "deployments", "--namespace=dev-demo")
		require.Equal(t, "namespace \"dev-demo\" deleted\n", dev.Output(t, "delete", "ns", "dev-demo", "--wait=false"))
	})
}

// TestExampleOwnerOfThree has no forced prefix, so that the names alone say whose a
// namespace is.
func TestExampleOwnerOfThree(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		apply(t, login.kubectl(t, clusterAdmin), "tenants-alice.yaml")
		alice, bob := login.kubectl(t, "alice", users), login.kubectl(t, "bob", users)
		awaitOwned(t, alice, "oil", "gas", "solar")
		for _, name := range []string{"oil-production", "oil-development", "gas-marketing"} {
			require.Equal(t, "namespace/"+name+" created\n", alice.Output(t, "create", "namespace", name))
		}
		awaitTable(t, alice, [][]string{
			{"NAME", "STATUS", "TENANT"},
			{"gas-marketing", "Active", "gas"}, {"oil-development", "Active", "oil"}, {"oil-production", "Active", "oil"},
		}, "get", "tenantnamespaces")
		awaitNames(t, bob, "tenantnamespaces")
		native := login.native(t, "alice", users)
		awaitTable(t, native, [][]string{
			{"NAME", "STATUS"}, {"gas-marketing", "Active"}, {"oil-development", "Active"}, {"oil-production", "Active"},
		}, "get", "ns")
		awaitNames(t, login.native(t, "bob", users), "ns")
		for _, verb := range []string{"get", "list", "watch", "delete"} {
			awaitCan(t, alice, verb, "ns/oil-production", "--namespace=oil-production")
			awaitCan(t, native, verb, "ns/oil-production", "--namespace=oil-production")
		}
		require.Equal(t, [][]string{{"NAME", "STATUS"}, {"oil-production", "Active"}}, table(alice.Output(t, "get", "ns", "oil-production")))
		requireRefused(t, alice, "you own the Tenants", "create", "namespace", "wind-production")

		// Without the proxy the first kubectl apply cannot ask whether the namespace
		// is there already, unless it is a server-side one.
		file := writeFile(t, "{apiVersion: v1, kind: Namespace, metadata: {name: solar-staging, labels: {env: dev}}}")
		requireRefused(t, alice, forbidden, "apply", "-f", file)
		require.Equal(t, "namespace/solar-staging serverside-applied\n", alice.Output(t, "apply", "--server-side", "-f", file))
		awaitCan(t, alice, "get", "ns/solar-staging", "--namespace=solar-staging")
		version := alice.Output(t, "get", "ns", "solar-staging", "-o", "jsonpath={.metadata.resourceVersion}")
		require.Equal(t, "namespace/solar-staging serverside-applied\n", alice.Output(t, "apply", "--server-side", "-f", file))
		require.Equal(t, version, alice.Output(t, "get", "ns", "solar-staging", "-o", "jsonpath={.metadata.resourceVersion}"), "it is unchanged")
		alice.Output(t, "apply", "-f", file)
		require.Equal(t, "namespace/solar-staging unchanged\n", alice.Output(t, "apply", "-f", file))

		// With it, as it is done everywhere.
		file = writeFile(t, "{apiVersion: v1, kind: Namespace, metadata: {name: solar-development, labels: {env: dev}}}")
		require.Equal(t, "namespace/solar-development created\n", native.Output(t, "apply", "-f", file))
		awaitCan(t, native, "patch", "ns/solar-development", "--namespace=solar-development")
		require.Equal(t, "namespace/solar-development unchanged\n", native.Output(t, "apply", "-f", file))
	})
}

// awaitOwned waits until the webhook knows that the user owns the Tenants.
func awaitOwned(t testing.TB, kubectl cli, tenants ...string) {
	t.Helper()
	for _, tenant := range tenants {
		await(t, "creation of a namespace in tenant "+tenant, "", func(context.Context) (string, error) {
			_, stderr, _ := kubectl.Run(t, "create", "namespace", tenant+"-probe", "--dry-run=server")
			return stderr, nil
		})
	}
}

func TestExampleNodes(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin := login.kubectl(t, clusterAdmin)
		apply(t, admin, "nodes.yaml")
		createLease(t, "capsule-gold-qwerty", "the-kubelet-of-gold")
		createLease(t, "capsule-silver-uiop", "the-kubelet-of-silver")
		alice := login.kubectl(t, "alice", users)
		awaitTable(t, alice, [][]string{
			{"NAME", "STATUS", "ROLES", "VERSION"}, {"capsule-gold-qwerty", "Unknown", "<none>", ""},
		}, "get", "tenantnodes")
		require.Equal(t, "node/capsule-gold-qwerty\n", alice.Output(t, "get", "node", "capsule-gold-qwerty", "-o", "name"))
		awaitCan(t, alice, "get", "node/capsule-gold-qwerty")
		requireRefused(t, alice, forbidden, "get", "node", "capsule-silver-uiop")
		requireRefused(t, alice, forbidden, "get", "nodes")
		requireRefused(t, alice, forbidden, "delete", "node", "capsule-gold-qwerty")

		described := alice.Output(t, "describe", "node", "capsule-gold-qwerty")
		require.Regexp(t, `Name: +capsule-gold-qwerty\n`, described)
		require.Regexp(t, `Lease:\n +HolderIdentity: +the-kubelet-of-gold\n`, described)
		require.Contains(t, described, "not authorized", "its pods are in namespaces of others, too")
		requireRefused(t, alice, forbidden, "get", "lease", "capsule-silver-uiop", "--namespace=kube-node-lease")

		native := login.native(t, "alice", users)
		awaitTable(t, native, [][]string{{"NAME", "STATUS", "ROLES", "VERSION"}, {"capsule-gold-qwerty", "Unknown", "<none>", ""}}, "get", "nodes")
		compare(t, "native description", described, native.Output(t, "describe", "node", "capsule-gold-qwerty"))
		requireRefused(t, native, `nodes "capsule-silver-uiop" not found`, "get", "node", "capsule-silver-uiop")

		admin.Output(t, "patch", "tenant", "oil", "--type=json", "-p", `[{"op": "remove", "path": "/spec/nodeSelector"}]`)
		awaitNames(t, alice, "tenantnodes", "capsule-gold-qwerty", "capsule-silver-uiop")
		awaitNames(t, alice, "nodes", "capsule-gold-qwerty", "capsule-silver-uiop")
		awaitNames(t, native, "nodes", "capsule-gold-qwerty", "capsule-silver-uiop")
		requireRefused(t, alice, forbidden, "delete", "node", "capsule-silver-uiop")
	})
}

// createLease makes what a kubelet keeps renewing.
func createLease(t testing.TB, node, holder string) {
	t.Helper()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
	require.NoError(t, admin(t).Create(t.Context(), lease))
	t.Cleanup(func() { require.NoError(t, admin(t).Delete(context.WithoutCancel(t.Context()), lease)) })
}

// TestExampleClasses is about the rows of one kind of class each.
func TestExampleClasses(t *testing.T) {
	tests := map[string]struct {
		files        []string
		view, native string
		seen, hidden []string
	}{
		"storageclasses": {
			files: []string{"storageclasses.yaml"}, view: "tenantstorageclasses", native: "storageclasses",
			seen: []string{"cephfs", "custom", "glusterfs"}, hidden: []string{"standard", "zol"},
		},
		"ingressclasses": {
			files: []string{"ingressclasses.yaml"}, view: "tenantingressclasses", native: "ingressclasses",
			seen: []string{"custom", "external-lb", "internal-lb"}, hidden: []string{"haproxy-ingress", "nginx"},
		},
		"ingressclasses without limits": {
			files: []string{"ingressclasses.yaml", "tenant-without-limits.yaml"}, view: "tenantingressclasses", native: "ingressclasses",
			seen: []string{"custom", "external-lb", "haproxy-ingress", "internal-lb", "nginx"},
		},
		"priorityclasses": {
			files: []string{"priorityclasses.yaml"}, view: "tenantpriorityclasses", native: "priorityclasses.scheduling.k8s.io",
			seen: []string{"custom", "maxpriority", "minpriority"}, hidden: []string{"nonallowed", "system-cluster-critical", "system-node-critical"},
		},
		"runtimeclasses": {
			files: []string{"runtimeclasses.yaml"}, view: "tenantruntimeclasses", native: "runtimeclasses.node.k8s.io",
			seen: []string{"bronze", "silver"}, hidden: []string{"default", "gold"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			forEachLogin(t, func(t *testing.T, login login) {
				admin, alice := login.kubectl(t, clusterAdmin), login.kubectl(t, "alice", users)
				apply(t, admin, test.files...)
				awaitNames(t, alice, test.view, test.seen...)
				// The very table of the native list, had it only these.
				get := append([]string{"get", test.native}, test.seen...)
				compare(t, "columns and rows", table(admin.Output(t, get...)), table(alice.Output(t, "get", test.view)))
				compare(t, "native, by names", table(admin.Output(t, get...)), table(alice.Output(t, get...)))
				native := login.native(t, "alice", users)
				compare(t, "native list", table(admin.Output(t, get...)), table(native.Output(t, "get", test.native)))
				awaitCan(t, alice, "get", test.native+"/"+test.seen[0])
				for _, class := range test.hidden {
					requireRefused(t, alice, forbidden, "get", test.native, class)
					requireRefused(t, native, "NotFound", "get", test.native, class)
				}
				if len(test.hidden) > 0 {
					requireRefused(t, alice, "NotFound", "get", test.view, test.hidden[0])
					requireRefused(t, alice, forbidden, "get", test.native)
				} else {
					compare(t, "native list", table(admin.Output(t, "get", test.native)), table(alice.Output(t, "get", test.native)))
				}
			})
		})
	}
}

// TestExampleSelectorThatKubernetesRefuses is about the other half of the row of
// runtime classes: what an administrator is told.
func TestExampleSelectorThatKubernetesRefuses(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin := login.kubectl(t, clusterAdmin)
		const field = "spec.runtimeClasses.matchExpressions[0]"
		stderr := apply(t, admin, "runtimeclasses.yaml")
		require.Contains(t, stderr, "Warning: "+field)
		require.Contains(t, stderr, "read as In")
		await(t, "a condition that names the field", true, func(context.Context) (bool, error) {
			return strings.Contains(admin.Output(t, "get", "tenant", "oil", "-o", "jsonpath={.status.conditions[*].message}"), field), nil
		})
	})
}

func TestExamplePersistentVolumes(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin, alice := login.kubectl(t, clusterAdmin), login.kubectl(t, "alice", users)
		apply(t, admin, "persistentvolumes.yaml")
		// The two volumes belong to a class that no provisioner has, and are bound
		// to whoever asks for them.
		// Their phase changes once they are made.
		await(t, "difference of what alice sees", "", func(context.Context) (string, error) {
			return cmp.Diff(table(admin.Output(t, "get", "pv", "data-01")), table(alice.Output(t, "get", "persistentvolumes", "data-01"))), nil
		})
		awaitNames(t, alice, "tenantpersistentvolumes", "data-01")
		awaitCan(t, alice, "get", "persistentvolumes/data-01")
		requireRefused(t, alice, forbidden, "get", "persistentvolumes")
		requireRefused(t, alice, forbidden, "get", "persistentvolumes", "data-02")
		native := login.native(t, "alice", users)
		awaitNames(t, native, "persistentvolumes", "data-01")
		requireRefused(t, native, `persistentvolumes "data-02" not found`, "get", "persistentvolumes", "data-02")

		applyText(t, admin, `{apiVersion: v1, kind: PersistentVolume, metadata: {name: data-past}, spec: {
  accessModes: [ReadWriteOnce], capacity: {storage: 10Gi}, hostPath: {path: /mnt/past, type: ""}, persistentVolumeReclaimPolicy: Retain, storageClassName: manual}}`)
		awaitOwned(t, alice, "oil")
		alice.Output(t, "create", "namespace", "oil-data")
		awaitCan(t, alice, "create", "persistentvolumeclaims", "--namespace=oil-data")
		file := writeFile(t, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: past, namespace: oil-data}, spec: {
  accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}, storageClassName: manual, volumeName: data-past}}`)
		alice.Output(t, "apply", "-f", file)
		awaitNames(t, alice, "tenantpersistentvolumes", "data-01", "data-past")
		alice.Output(t, "delete", "-f", file, "--wait=false")
		await(t, "phase of data-past", "Released", func(context.Context) (string, error) {
			return admin.Output(t, "get", "pv", "data-past", "-o", "jsonpath={.status.phase}"), nil
		})
		alice.Output(t, "delete", "ns", "oil-data", "--wait=false")
		awaitGone(t, newNamespace("oil-data"))
		awaitNames(t, alice, "tenantpersistentvolumes", "data-01", "data-past")
		awaitNames(t, native, "persistentvolumes", "data-01", "data-past")
		require.Equal(t, "oil", admin.Output(t, "get", "pv", "data-past", "-o", `jsonpath={.metadata.labels.capsule\.clastix\.io/tenant}`))
	})
}

// TestExampleProxySetting has an owner share what it sees.
func TestExampleProxySetting(t *testing.T) {
	forEachLogin(t, func(t *testing.T, login login) {
		admin, alice := login.kubectl(t, clusterAdmin), login.kubectl(t, "alice", users)
		// For the objects; the last file is about the Tenants.
		apply(t, admin, "nodes.yaml", "storageclasses.yaml", "ingressclasses.yaml", "priorityclasses.yaml", "tenants-alice.yaml")
		seen := map[string][]string{
			"tenantnodes":           {"capsule-gold-qwerty"},
			"tenantstorageclasses":  {"cephfs", "custom", "glusterfs"},
			"tenantingressclasses":  {"custom", "external-lb", "internal-lb"},
			"tenantpriorityclasses": {"custom", "maxpriority", "minpriority"},
		}
		natives := map[string]string{
			"tenantnodes": "nodes", "tenantstorageclasses": "storageclasses", "tenantingressclasses": "ingressclasses", "tenantpriorityclasses": "priorityclasses",
		}
		awaitOwned(t, alice, "solar")
		alice.Output(t, "create", "namespace", "solar-production")
		awaitCan(t, alice, "create", "proxysettings", "--namespace=solar-production")
		for view, names := range seen {
			awaitNames(t, alice, view, names...)
		}
		// Every subject is shown what alice is, ages aside.
		shown := map[string][][]string{}
		for view := range seen {
			shown[view] = table(alice.Output(t, "get", view, "-o", "wide"))
		}
		seesThat := func(who string, kubectl, native cli) {
			t.Helper()
			for view, names := range seen {
				awaitNames(t, kubectl, view, names...)
				compare(t, "what "+who+" is shown", shown[view], table(kubectl.Output(t, "get", view, "-o", "wide")))
				awaitCan(t, kubectl, "get", natives[view]+"/"+names[len(names)-1])
				requireRefused(t, kubectl, forbidden, "get", natives[view])
				awaitCan(t, native, "get", natives[view])
				awaitNames(t, native, natives[view], names...)
			}
			awaitNames(t, kubectl, "tenantnamespaces")
		}
		bob := login.kubectl(t, "bob", users)
		for view := range seen {
			awaitNames(t, bob, view)
		}
		require.Equal(t, "proxysetting.capsule.clastix.io/sre-readers created\n", alice.Output(t, "apply", "-f", example(t, "proxysetting.yaml")))
		seesThat("bob", bob, login.native(t, "bob", users))
		requireRefused(t, bob, forbidden, "create", "-f", example(t, "proxysetting.yaml"), "--dry-run=server")

		// The same, to a group and to a service account.
		alice.Output(t, "create", "serviceaccount", "robot", "--namespace=solar-production")
		robot := serviceAccount(t, login, "solar-production", "robot")
		// The proxy takes service accounts at their word, not at a certificate's.
		nativeRobot := withToken{login.native(t, "nobody"), serviceAccountToken(t, "solar-production", "robot")}
		carol := login.kubectl(t, "carol", "solar-sre")
		for view := range seen {
			awaitNames(t, carol, view)
			awaitNames(t, robot, view)
		}
		manifest, err := os.ReadFile(example(t, "proxysetting.yaml"))
		require.NoError(t, err)
		for _, who := range []struct {
			kind, name      string
			kubectl, native cli
		}{
			{"Group", "solar-sre", carol, login.native(t, "carol", "solar-sre")},
			{"ServiceAccount", "system:serviceaccount:solar-production:robot", robot, nativeRobot},
		} {
			shared := strings.NewReplacer("kind: User", "kind: "+who.kind, "name: bob", `name: "`+who.name+`"`).Replace(string(manifest))
			alice.Output(t, "apply", "-f", writeFile(t, shared))
			seesThat(who.name, who.kubectl, who.native)
		}
		// bob is not named any more.
		for view := range seen {
			awaitNames(t, bob, view)
		}
		alice.Output(t, "delete", "proxysetting", "sre-readers", "--namespace=solar-production")
		for view := range seen {
			awaitNames(t, robot, view)
		}
	})
}

// TestExampleWriteOperations gives alice more than the example does.
func TestExampleWriteOperations(t *testing.T) {
	manifest, err := os.ReadFile(example(t, "oil.yaml"))
	require.NoError(t, err)
	const given = "{kind: StorageClasses, operations: [List]}"
	require.Contains(t, string(manifest), given)
	writes := strings.Replace(string(manifest), given, "{kind: StorageClasses, operations: [List, Update, Delete]}", 1)
	forEachLogin(t, func(t *testing.T, login login) {
		admin, alice := login.kubectl(t, clusterAdmin), login.kubectl(t, "alice", users)
		apply(t, admin, "storageclasses.yaml", "priorityclasses.yaml", "oil.yaml")
		awaitNames(t, alice, "tenantstorageclasses", "cephfs", "custom", "glusterfs")
		awaitNames(t, alice, "tenantpriorityclasses", "custom", "maxpriority", "minpriority")
		requireRefused(t, alice, forbidden, "label", "storageclass", "custom", "mine=true")
		requireRefused(t, alice, forbidden, "delete", "storageclass", "custom")

		applyText(t, admin, writes)
		for _, verb := range []string{"update", "patch", "delete"} {
			awaitCan(t, alice, verb, "storageclasses/custom")
		}
		native := login.native(t, "alice", users)
		require.Equal(t, "storageclass.storage.k8s.io/custom labeled\n", native.Output(t, "label", "storageclass", "custom", "mine=true"))
		require.Equal(t, "true", admin.Output(t, "get", "storageclass", "custom", "-o", "jsonpath={.metadata.labels.mine}"))
		requireRefused(t, alice, forbidden, "label", "storageclass", "zol", "mine=true")
		requireRefused(t, alice, forbidden, "delete", "storageclass", "zol")
		requireRefused(t, native, forbidden, "delete", "storageclass", "zol")
		requireRefused(t, alice, forbidden, "delete", "storageclasses", "--all")
		requireRefused(t, alice, forbidden, "label", "priorityclass", "custom", "mine=true")
		requireRefused(t, alice, forbidden, "delete", "priorityclass", "custom")
		require.Contains(t, native.Output(t, "delete", "storageclass", "custom"), `"custom" deleted`)
		awaitNames(t, alice, "tenantstorageclasses", "cephfs", "glusterfs")
		// Who makes one of that name again makes another one, and it is judged anew.
		admin.Output(t, "create", "-f", onlyNamed(t, "storageclasses.yaml", "StorageClass", "custom"))
		awaitNames(t, alice, "tenantstorageclasses", "cephfs", "custom", "glusterfs")
	})
}

// onlyNamed returns the path of a manifest with one object of an example.
func onlyNamed(t testing.TB, name, kind, object string) string {
	t.Helper()
	objects := objectsIn(t, example(t, name))
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == object })
	require.GreaterOrEqual(t, i, 0)
	data, err := objects[i].MarshalJSON()
	require.NoError(t, err)
	return writeFile(t, string(data))
}
