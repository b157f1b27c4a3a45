// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

const controllerUser = "system:serviceaccount:tenancy-system:tenancy-controller"

// requests returns what the controller has asked the API server, in order.
func requests() ([]auditv1.Event, error) {
	file, err := os.Open(system.ControlPlane.AuditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was read
	var events []auditv1.Event
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return events, nil // the rest of a line may still be written
		}
		if err != nil {
			return nil, err
		}
		var event auditv1.Event
		if !strings.Contains(string(line), controllerUser) {
			continue
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("parse audit log: %w", err)
		}
		if event.User.Username == controllerUser && event.ObjectRef != nil && event.ResponseStatus != nil {
			events = append(events, event)
		}
	}
}

func describe(e auditv1.Event) string {
	return fmt.Sprintf("%s %s %s: %d %s", e.RequestReceivedTimestamp.Format(time.StampMilli), e.Verb, e.RequestURI, e.ResponseStatus.Code, e.ResponseStatus.Message)
}

// checkRights holds that the controller was never refused for want of a right, in
// all that the tests made it do, but where they meant it to be.
func checkRights() error {
	events, err := requests()
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("the audit log has no request of %s", controllerUser)
	}
	var refused []string
	for _, e := range events {
		switch {
		case e.ResponseStatus.Code != http.StatusForbidden:
		case e.ImpersonatedUser != nil:
			// What a service account may do is not the controller's concern.
		case strings.HasPrefix(e.ObjectRef.Namespace, "escalate-"):
		case strings.Contains(e.ResponseStatus.Message, "because it is being terminated"):
		default:
			refused = append(refused, describe(e))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("the controller was refused:\n%s", strings.Join(refused, "\n"))
	}
	return nil
}

// metrics returns the metrics of a controller.
func metrics(ctx context.Context, c *framework.Controller) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.MetricsURL(), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// TestMetrics holds that what operators watch is there, and goes with its Tenant.
func TestMetrics(t *testing.T) {
	t.Parallel()
	createTenant(t, "measured", capsulev1beta2.TenantSpec{
		Owners:           []capsulev1beta2.OwnerSpec{owner("measured-ann", lists(capsulev1beta2.NodesProxy)...)},
		NamespaceOptions: &capsulev1beta2.NamespaceOptions{Quota: new(int32(5))},
	})
	createNamespace(t, "measured-ann", "measured-1")
	// Each is a whole line, up to its value.
	series := map[string]string{
		`capsule_tenant_namespace_count{tenant="measured"}`:                                            "1",
		`capsule_tenant_namespace_relationship{target_namespace="measured-1",tenant="measured"}`:       "1",
		`capsule_tenant_condition{condition="Ready",tenant="measured"}`:                                "1",
		`capsule_tenant_condition{condition="Cordoned",tenant="measured"}`:                             "0",
		`capsule_tenant_resource_limit{resource="namespaces",resourcequotaindex="",tenant="measured"}`: "5",
		`capsule_tenant_resource_usage{resource="namespaces",resourcequotaindex="",tenant="measured"}`: "1",
	}
	value := func(text, name string) (string, bool) {
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				return strings.TrimSpace(rest), true
			}
		}
		return "", false
	}
	await(t, "metrics of the Tenant", series, func(ctx context.Context) (map[string]string, error) {
		text, err := metrics(ctx, system.Controller)
		got := map[string]string{}
		for name := range series {
			if v, ok := value(text, name); ok {
				got[name] = v
			}
		}
		return got, err
	})
	// Of what was never compiled there is no age.
	const accessAge = `tenancy_controller_access_age_seconds{tenant="measured"}`
	await(t, "age of the access", true, func(ctx context.Context) (bool, error) {
		text, err := metrics(ctx, system.Controller)
		_, found := value(text, accessAge)
		return found, err
	})
	text, err := metrics(t.Context(), system.Controller)
	require.NoError(t, err)
	age, found := value(text, accessAge)
	require.True(t, found)
	seconds, err := strconv.ParseFloat(age, 64)
	require.NoError(t, err)
	require.Less(t, seconds, time.Minute.Seconds())
	lease, found := value(text, "tenancy_controller_lease_age_seconds")
	require.True(t, found)
	seconds, err = strconv.ParseFloat(lease, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, seconds, 0.0)
	require.Less(t, seconds, time.Minute.Seconds())
	for _, pattern := range []string{
		`workqueue_depth\{[^}]*name="namespaces"[^}]*\}`, `workqueue_adds_total\{[^}]*name="volumes"[^}]*\}`,
		`workqueue_queue_duration_seconds_count\{`, `workqueue_work_duration_seconds_count\{`, `workqueue_retries_total\{`,
		`rest_client_requests_total\{code="200",[^}]*method="PATCH"\}`,
		`controller_runtime_reconcile_total\{[^}]*controller="namespaces"[^}]*\}`,
		`controller_runtime_webhook_requests_total\{[^}]*webhook="/namespaces/validating"[^}]*\}`,
		`process_resident_memory_bytes`, `go_goroutines`,
	} {
		require.Regexp(t, `(?m)^`+pattern, text)
	}
	system.DeleteTenant(t, "measured")
	await(t, "metrics that name the Tenant", []string{}, func(ctx context.Context) ([]string, error) {
		text, err := metrics(ctx, system.Controller)
		names := []string{}
		for line := range strings.Lines(text) {
			if strings.Contains(line, `"measured"`) {
				names = append(names, line)
			}
		}
		return names, err
	})
}

// TestIdle holds that a controller with nothing to do does nothing.
func TestIdle(t *testing.T) {
	const quiet, within = 8 * time.Second, time.Minute
	createTenant(t, "idle", capsulev1beta2.TenantSpec{
		Owners:         []capsulev1beta2.OwnerSpec{owner("idle-ann", lists(capsulev1beta2.NodesProxy, capsulev1beta2.StorageClassesProxy, capsulev1beta2.TenantProxy)...)},
		NodeSelector:   map[string]string{"pool": "idle"},
		StorageClasses: &capsulev1beta2.DefaultAllowedList{SelectorAllowedList: capsulev1beta2.SelectorAllowedList{AllowedList: capsulev1beta2.AllowedList{AllowedRegex: ".*"}}},
	})
	for i := range 3 {
		createNamespace(t, "idle-ann", fmt.Sprintf("idle-%d", i))
	}
	// Of what the tests before it left to do there is an end, too.
	var last string
	awaitWithin(t, within, "that it asks nothing", "", func(context.Context) (string, error) {
		events, err := requests()
		for _, e := range events {
			if e.ObjectRef.Resource == "leases" || e.Verb == "watch" {
				continue
			}
			last = describe(e)
			if time.Since(e.RequestReceivedTimestamp.Time) < quiet {
				return last, err
			}
		}
		return "", err
	})
	require.NotEmpty(t, last, "it has asked something before")
}

// twoReplicas adds a replica, which knows all that there is by then, and has the API
// server call the webhooks of both, for the time of a test.
func twoReplicas(t *testing.T) (first, second *framework.Controller) {
	t.Helper()
	second, err := system.AddController(t.Context(), "tenancy-controller-2")
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, system.Controller.Start(ctx))
		require.NoError(t, system.BalanceWebhooks(ctx, system.Controller))
		awaitAsked(t, system.Controller)
		require.NoError(t, system.ControlPlane.RemoveProcess(second.Process))
		awaitLeader(t, "")
	})
	require.NoError(t, system.BalanceWebhooks(t.Context(), system.Controller, second))
	awaitAsked(t, second)
	return system.Controller, second
}

// The webhooks of namespaces: the second one gives places in quotas.
var (
	asked   = regexp.MustCompile(`(?m)^controller_runtime_webhook_requests_total\{[^}]*webhook="/namespaces/[a-z]+"[^}]*\} (\S+)$`)
	decided = regexp.MustCompile(`(?m)^controller_runtime_webhook_requests_total\{[^}]*webhook="/namespaces/validating"[^}]*\} (\S+)$`)
)

// answers returns how often a replica answered.
func answers(ctx context.Context, c *framework.Controller, which *regexp.Regexp) (float64, error) {
	text, err := metrics(ctx, c)
	var sum float64
	for _, match := range which.FindAllStringSubmatch(text, -1) {
		count, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			return 0, err
		}
		sum += count
	}
	return sum, err
}

// awaitAsked waits until the API server asks a replica.
func awaitAsked(t *testing.T, c *framework.Controller) {
	t.Helper()
	asker := framework.ClientOf(t, system.Config(t, clusterAdmin))
	var before float64
	awaitWithin(t, gone, "a request to "+c.Name(), true, func(ctx context.Context) (bool, error) {
		now, err := answers(ctx, c, asked)
		if err != nil {
			return false, err
		}
		if before == 0 {
			before = now + 1 // never what it is
		}
		if now >= before {
			return true, nil
		}
		for range 2 {
			if err := asker.Create(ctx, newNamespace("who-is-asked"), client.DryRunAll); err != nil {
				return false, err
			}
		}
		return false, nil
	})
}

// awaitLeader waits until a replica leads, another one than the holder that was, and
// returns who does.
func awaitLeader(t testing.TB, was string) (holder string) {
	t.Helper()
	c := admin(t)
	awaitWithin(t, gone, "another leader", true, func(ctx context.Context) (bool, error) {
		var lease coordinationv1.Lease
		if err := c.Get(ctx, client.ObjectKey{Namespace: "tenancy-system", Name: "tenancy-controller"}, &lease); err != nil {
			return false, err
		}
		if lease.Spec.HolderIdentity == nil || lease.Spec.RenewTime == nil || *lease.Spec.HolderIdentity == "" {
			return false, nil
		}
		holder = *lease.Spec.HolderIdentity
		return holder != was && time.Since(lease.Spec.RenewTime.Time) < 10*time.Second, nil
	})
	return holder
}

// TestQuotaOfTwoReplicas creates 50 namespaces at once where there are places for 10.
func TestQuotaOfTwoReplicas(t *testing.T) {
	const places, crowd = 10, 50
	createTenant(t, "crowd", capsulev1beta2.TenantSpec{
		Owners:           []capsulev1beta2.OwnerSpec{owner("crowd-ann")},
		NamespaceOptions: &capsulev1beta2.NamespaceOptions{Quota: new(int32(places))},
	})
	ann := as(t, "crowd-ann")
	first, second := twoReplicas(t)
	counts := func() (n [2]float64) {
		t.Helper()
		for i, replica := range []*framework.Controller{first, second} {
			var err error
			n[i], err = answers(t.Context(), replica, decided)
			require.NoError(t, err)
		}
		return n
	}
	before := counts()
	var group errgroup.Group
	errs := make([]error, crowd)
	for i := range crowd {
		group.Go(func() error {
			errs[i] = ann.Create(t.Context(), newNamespace(fmt.Sprintf("crowd-%02d", i)))
			return nil
		})
	}
	require.NoError(t, group.Wait())
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		requireForbidden(t, err, "has all of the 10 namespaces")
	}
	names, err := framework.NamespacesOf(t.Context(), admin(t), "crowd")
	require.NoError(t, err)
	require.Len(t, names, places, "namespaces that there are")
	require.Equal(t, places, made, "requests that were granted")
	after := counts()
	for i := range after {
		require.Greater(t, after[i], before[i]+1, "both replicas decide: %v, %v", before, after)
	}
	// One goes, one comes.
	require.NoError(t, admin(t).Delete(t.Context(), newNamespace(names[0])))
	awaitGone(t, newNamespace(names[0]))
	var again errgroup.Group
	granted := make([]bool, crowd)
	for i := range crowd {
		again.Go(func() error {
			err := ann.Create(t.Context(), newNamespace(fmt.Sprintf("crowd-again-%02d", i)))
			granted[i] = err == nil
			if err != nil && !apierrors.IsForbidden(err) {
				return err
			}
			return nil
		})
	}
	require.NoError(t, again.Wait())
	made = 0
	for _, ok := range granted {
		if ok {
			made++
		}
	}
	require.Equal(t, 1, made, "requests that were granted for the last place")
}

// TestLeaderIsReplaced kills the one that writes, and later ends one in order.
func TestLeaderIsReplaced(t *testing.T) {
	leader := awaitLeader(t, "")
	createTenant(t, "led", capsulev1beta2.TenantSpec{Owners: []capsulev1beta2.OwnerSpec{owner("led-ann")}})
	first, second := twoReplicas(t)
	createNamespace(t, "led-ann", "led-1")
	bound := []string{"ClusterRole admin: User /led-ann", "ClusterRole capsule-namespace-deleter: User /led-ann"}
	awaitBindings(t, "led-1", bound...)

	require.NoError(t, first.Kill())
	// Nobody leads, but namespaces are judged.
	require.NoError(t, as(t, "led-ann").Create(t.Context(), newNamespace("led-2")))
	c := admin(t)
	require.NoError(t, c.DeleteAllOf(t.Context(), &rbacv1.RoleBinding{}, client.InNamespace("led-1"), client.HasLabels{capsulev1beta2.RoleBindingLabel}))
	next := awaitLeader(t, leader)
	awaitBindings(t, "led-1", bound...)
	awaitBindings(t, "led-2", bound...)
	awaitView(t, "led-ann", "led-1", "led-2")

	// In order it is quick: the Lease is given up.
	require.NoError(t, first.Start(t.Context()))
	start := time.Now()
	require.NoError(t, second.Stop())
	awaitLeader(t, next)
	require.Less(t, time.Since(start), 10*time.Second, "a Lease that is given up need not run out")
	require.NoError(t, c.DeleteAllOf(t.Context(), &rbacv1.RoleBinding{}, client.InNamespace("led-1"), client.HasLabels{capsulev1beta2.RoleBindingLabel}))
	awaitBindings(t, "led-1", bound...)
	require.NoError(t, second.Start(t.Context()))
}
