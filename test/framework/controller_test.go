// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"tenancy.capsule.io/test/framework/deployment"
)

const (
	systemNamespace = "tenancy-system"
)

// shortLease makes a replica take over in seconds.
var shortLease = []string{"--leader-elect-lease-duration=4s", "--leader-elect-renew-deadline=3s", "--leader-elect-retry-period=500ms"}

// metric returns a metric of a controller, summed up over its series that have all of
// the labels; ok says whether there is one.
func metric(t testing.TB, c *Controller, name string, labels ...string) (sum float64, ok bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.MetricsURL(), nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
next:
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue next
			}
		}
		number, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err)
		sum, ok = sum+number, true
	}
	require.NoError(t, lines.Err())
	return sum, ok
}

func webhookRequests(t testing.TB, c *Controller) float64 {
	t.Helper()
	requests, _ := metric(t, c, "controller_runtime_webhook_requests_total", `webhook="/namespaces/`)
	return requests
}

// holder returns who leads, and since when.
func holder(t testing.TB) (string, time.Time) {
	t.Helper()
	lease, err := system.Admin(t).CoordinationV1().Leases(systemNamespace).Get(t.Context(), deployment.ControllerName, metav1.GetOptions{})
	require.NoError(t, err)
	return ptr.Deref(lease.Spec.HolderIdentity, ""), ptr.Deref(lease.Spec.AcquireTime, metav1.MicroTime{}).Time
}

func newTenant(t testing.TB, name, owner string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tenant.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
		`{apiVersion: capsule.clastix.io/v1beta2, kind: Tenant, metadata: {name: %s}, spec: {owners: [{kind: User, name: %s}]}}`, name, owner), 0o600))
	admin := system.Kubectl(t, "root", "system:masters")
	admin.Output(t, "apply", "-f", file)
	t.Cleanup(func() {
		// With its namespaces.
		out, err := admin.Command(context.WithoutCancel(t.Context()), "delete", "tenant", name).CombinedOutput()
		assert.NoError(t, err, string(out))
	})
}

// createNamespace makes a namespace as an owner. A replica may learn of the Tenant a
// moment after its owner.
func createNamespace(t testing.TB, owner *Kubectl, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, stderr, err := owner.Run(t, "create", "namespace", name)
		if err != nil {
			t.Log(stderr)
		}
		return err == nil
	}, Eventually, tick)
}

// TestOwner makes a namespace as an owner does.
func TestOwner(t *testing.T) {
	newTenant(t, "oil", "ann")
	ann := system.Kubectl(t, "ann", "capsule.clastix.io")
	createNamespace(t, ann, "oil-production")
	require.Eventually(t, func() bool {
		return strings.Contains(ann.Output(t, "get", "tns", "-o", "name"), "/oil-production\n")
	}, Eventually, tick)
	require.Eventually(t, func() bool {
		stdout, _, _ := ann.Run(t, "auth", "can-i", "create", "deployments", "-n", "oil-production")
		return strings.Contains(stdout, "yes")
	}, Eventually, tick)
	_, stderr, err := system.Kubectl(t, "dan", "capsule.clastix.io").Run(t, "create", "namespace", "oil-2")
	require.Error(t, err, "dan owns nothing")
	require.Contains(t, stderr, "Forbidden")
}

// TestRefusedRole gives a role that the controller may not give, until an administrator
// lets it.
func TestRefusedRole(t *testing.T) {
	admin := system.Kubectl(t, "root", "system:masters")
	delegated := []string{"refused-viewer", "refused-may-bind"}
	t.Cleanup(func() {
		out, err := admin.Command(context.WithoutCancel(t.Context()), append([]string{"delete", "clusterrole"}, delegated...)...).CombinedOutput()
		assert.NoError(t, err, string(out))
	})
	admin.Output(t, "create", "clusterrole", delegated[0], "--verb=get", "--resource=pods/log")
	newTenant(t, "refused", "eve")
	admin.Output(t, "patch", "tenant", "refused", "--type=merge", "--patch", `{"spec":{"owners":[{"kind":"User","name":"eve","clusterRoles":["refused-viewer"]}]}}`)
	createNamespace(t, system.Kubectl(t, "eve", "capsule.clastix.io"), "refused-1")

	ready := func() string {
		return admin.Output(t, "get", "tenant", "refused", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
	}
	require.Eventually(t, func() bool {
		return strings.HasPrefix(ready(), "False ") && strings.Contains(ready(), `"refused-viewer"`)
	}, Eventually, tick)
	require.Equal(t, "capsuleconfiguration.capsule.clastix.io/default\n", admin.Output(t, "get", "capsuleconfigurations", "-o", "name"))
	require.True(t, strings.HasPrefix(ready(), "False "), "it lasts")

	admin.Output(t, "create", "clusterrole", delegated[1], "--verb=bind", "--resource=clusterroles.rbac.authorization.k8s.io", "--resource-name=refused-viewer")
	admin.Output(t, "label", "clusterrole", delegated[1], "projectcapsule.dev/aggregate-to-controller=true")
	require.Eventually(t, func() bool { return strings.HasPrefix(ready(), "True ") }, Eventually, tick)
	require.Contains(t, admin.Output(t, "get", "rolebindings", "-n", "refused-1"), "ClusterRole/refused-viewer")
}

// TestConversion writes a Tenant in the older version, which the controller converts.
func TestConversion(t *testing.T) {
	admin := system.Kubectl(t, "root", "system:masters")
	file := filepath.Join(t.TempDir(), "tenant.yaml")
	require.NoError(t, os.WriteFile(file, []byte(
		`{apiVersion: capsule.clastix.io/v1beta1, kind: Tenant, metadata: {name: old}, spec: {owners: [{kind: Group, name: olds}]}}`), 0o600))
	require.Eventually(t, func() bool {
		_, _, err := admin.Run(t, "apply", "-f", file)
		return err == nil
	}, Eventually, tick, "the CA is written to the definition soon after the start")
	require.Equal(t, "Group", admin.Output(t, "get", "tenants.v1beta2.capsule.clastix.io", "old", "-o", "jsonpath={.spec.owners[0].kind}"))
	admin.Output(t, "delete", "tenant", "old")
}

// TestMetrics asks for what people's dashboards do.
func TestMetrics(t *testing.T) {
	for _, name := range []string{
		"workqueue_adds_total", "workqueue_depth", "rest_client_requests_total", "controller_runtime_reconcile_total",
		"controller_runtime_webhook_requests_total", "go_goroutines", "process_resident_memory_bytes", "leader_election_master_status",
		"tenancy_controller_lease_age_seconds",
	} {
		_, ok := metric(t, system.Controller, name)
		assert.True(t, ok, name)
	}
}

// TestReplicas has two controllers, of which both judge namespaces and one writes.
func TestReplicas(t *testing.T) {
	second, err := system.AddController(t.Context(), "second", shortLease...)
	require.NoError(t, err)
	first := system.Controller
	t.Cleanup(func() { assert.NoError(t, second.Stop()) })
	require.NoError(t, system.BalanceWebhooks(t.Context(), first, second))
	newTenant(t, "gas", "ben")
	ben := system.Kubectl(t, "ben", "capsule.clastix.io")

	made := 0
	create := func() (name string) {
		made++
		name = fmt.Sprintf("gas-%d", made)
		createNamespace(t, ben, name)
		return name
	}
	// The API server goes over to the balancer when it has heard of it.
	for deadline := time.Now().Add(Eventually); webhookRequests(t, second) == 0; {
		require.True(t, time.Now().Before(deadline), "the second replica is not asked")
		create()
	}
	before := webhookRequests(t, first)
	create()
	create()
	require.Greater(t, webhookRequests(t, first), before, "both are asked")

	leads := func(c *Controller) bool {
		value, _ := metric(t, c, "leader_election_master_status")
		return value == 1
	}
	require.True(t, leads(first))
	require.False(t, leads(second))
	leader, _ := holder(t)

	require.NoError(t, first.Kill())
	require.Eventually(t, func() bool {
		age, _ := metric(t, second, "tenancy_controller_lease_age_seconds")
		return age > 1
	}, Eventually, tick, "the one that is left says that nobody leads")
	// Whose the namespace is is decided without a leader; what its owners may do
	// there takes one.
	last := create()
	require.Eventually(t, func() bool { return leads(second) }, Eventually, tick)
	require.Eventually(t, func() bool {
		stdout, _, _ := ben.Run(t, "auth", "can-i", "create", "deployments", "-n", last)
		return strings.Contains(stdout, "yes")
	}, Eventually, tick)
	require.NoError(t, first.Start(t.Context()))
	now, _ := holder(t)
	require.NotEqual(t, leader, now)
	require.False(t, leads(first), "who comes back waits")

	// One that stops in order gives the Lease back.
	stopped := time.Now()
	require.NoError(t, second.Stop())
	require.Eventually(t, func() bool { return leads(first) }, Eventually, tick)
	_, since := holder(t)
	require.Less(t, since.Sub(stopped), 3*time.Second)
}

// TestCertificateIsRenewed takes the certificate away: there is another one of the
// same CA, for both servers, and nobody is restarted.
func TestCertificateIsRenewed(t *testing.T) {
	secrets := system.Admin(t).CoreV1().Secrets(systemNamespace)
	before, err := secrets.Get(t.Context(), "tenancy-tls", metav1.GetOptions{})
	require.NoError(t, err)
	_, err = secrets.Patch(t.Context(), before.Name, types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/tls.crt"}]`), metav1.PatchOptions{})
	require.NoError(t, err)
	var after *corev1.Secret
	require.Eventually(t, func() bool {
		after, err = secrets.Get(t.Context(), before.Name, metav1.GetOptions{})
		return err == nil && len(after.Data[corev1.TLSCertKey]) > 0
	}, Eventually, tick)
	require.Equal(t, before.Data["ca.crt"], after.Data["ca.crt"])
	require.NotEqual(t, before.Data[corev1.TLSCertKey], after.Data[corev1.TLSCertKey])
	block, _ := pem.Decode(after.Data[corev1.TLSCertKey])
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	certs := system.layout.ControllerCerts(deployment.ControllerName)
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(filepath.Join(certs, corev1.TLSCertKey))
		return err == nil && string(data) == string(after.Data[corev1.TLSCertKey])
	}, Eventually, tick)
	require.Contains(t, leaf.DNSNames, controllerService)

	newTenant(t, "coal", "cid")
	cid := system.Kubectl(t, "cid", "capsule.clastix.io")
	createNamespace(t, cid, "coal-1")
	require.Eventually(t, func() bool { return strings.Contains(cid.Output(t, "get", "tns"), "coal-1") }, Eventually, tick)
}

// TestRights reads the audit log: the controller asks for nothing that artifacts/
// does not allow, but for what TestRefusedRole is about. It runs last.
func TestRights(t *testing.T) {
	file, err := os.Open(system.ControlPlane.AuditLog())
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	asked := 0
	for lines.Scan() {
		var event struct {
			User           struct{ Username string }
			Verb           string
			RequestURI     string
			ResponseStatus struct {
				Code    int
				Message string
			}
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		if event.User.Username != "system:serviceaccount:tenancy-system:tenancy-controller" {
			continue
		}
		asked++
		if strings.HasPrefix(event.RequestURI, "/apis/rbac.authorization.k8s.io/v1/namespaces/refused-1/") {
			continue
		}
		assert.NotEqual(t, http.StatusForbidden, event.ResponseStatus.Code, "%s %s: %s", event.Verb, event.RequestURI, event.ResponseStatus.Message)
	}
	require.NoError(t, lines.Err())
	require.Greater(t, asked, 100)
}
