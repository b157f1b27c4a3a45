// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/namespaces"
	"tenancy.capsule.io/pkg/registry"
	"tenancy.capsule.io/pkg/tenant"
)

const (
	// coldLimit and coldMemory are of the performance budget: the factor over bare
	// creates, and MiB.
	coldLimit  = 1.5
	coldMemory = 300

	// coldPoll is rare enough for the lists not to be in the way.
	coldPoll   = 2 * time.Second
	coldWithin = 20 * time.Minute
	// quiet is for how long nothing is written by a controller that has nothing to do.
	quiet = 10 * time.Second

	// barePrefix begins the names of namespaces of no Tenant.
	barePrefix = "bare-"
	// controllerUser is tenancy-controller in the audit log.
	controllerUser = "system:serviceaccount:tenancy-system:tenancy-controller"
)

// imposingTenant returns a Tenant that imposes two NetworkPolicies, a LimitRange and a
// ResourceQuota on each of its namespaces.
func imposingTenant(o options, number int) *capsulev1beta2.Tenant {
	t := tenantObject(o, number)
	t.Spec.NetworkPolicies = &capsulev1beta2.NetworkPolicies{Items: []networkingv1.NetworkPolicySpec{
		{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{registry.TenantLabel: t.Name}},
		}}}}},
		{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}}}},
		},
	}}
	t.Spec.LimitRanges = &capsulev1beta2.LimitRanges{Items: []corev1.LimitRangeSpec{{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{"cpu": resource.MustParse("2")},
	}}}}}
	t.Spec.ResourceQuotas = &capsulev1beta2.ResourceQuotas{
		Scope: capsulev1beta2.ResourceQuotaScopeNamespace,
		Items: []corev1.ResourceQuotaSpec{{Hard: corev1.ResourceList{"pods": resource.MustParse("100")}}},
	}
	return t
}

// imposed returns the objects that tenancy-controller makes in a namespace of the
// Tenant.
func imposed(t *capsulev1beta2.Tenant, namespace string) []ctrlclient.Object {
	var objects []ctrlclient.Object
	for _, policy := range namespaces.NetworkPolicies(t) {
		objects = append(objects, policy)
	}
	for _, limits := range namespaces.LimitRanges(t) {
		objects = append(objects, limits)
	}
	for _, quota := range namespaces.ResourceQuotas(t) {
		objects = append(objects, quota)
	}
	owners := tenant.Owners(t, tenant.Sources{})
	bindings := namespaces.RoleBindings(t, owners)
	// That by which owners may get the namespace.
	reader := &rbacv1.RoleBinding{
		ObjectMeta: *bindings[0].ObjectMeta.DeepCopy(),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenancy:namespace-reader"},
	}
	reader.Name = "capsule:tenant:" + t.Name
	for _, binding := range bindings {
		reader.Subjects = append(reader.Subjects, binding.Subjects...)
		objects = append(objects, binding)
	}
	objects = append(objects, reader)
	for _, object := range objects {
		object.SetNamespace(namespace)
	}
	return objects
}

// openCold opens a cluster with Tenants that impose objects, and their namespaces, in
// which nothing of it is yet, for tenancy-controller does not run. Beside them there are
// as many namespaces of no Tenant.
func openCold(ctx context.Context, o options) (*environment, error) {
	return open(ctx, o.inOwnDir("cold"), true, func(ctx context.Context, e *environment) error {
		uids := make([]types.UID, o.Tenants)
		for i := range uids {
			t := imposingTenant(o, i)
			if err := e.objects.Create(ctx, t); err != nil {
				return fmt.Errorf("create tenant: %w", err)
			}
			uids[i] = t.UID
		}
		if err := e.system.Controller.Stop(); err != nil {
			return fmt.Errorf("stop tenancy-controller: %w", err)
		}
		progress("Creating twice %d namespaces", o.Namespaces)
		if err := e.createNamespaces(ctx, uids, namespacesOf(o)); err != nil {
			return err
		}
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(seedWorkers)
		for _, s := range namespacesOf(o) {
			group.Go(func() error { return create(groupCtx, e.admin, barePrefix+s.name) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		progress("Waiting until the controllers are done")
		err := wait.PollUntilContextTimeout(ctx, coldPoll, coldWithin, true, func(ctx context.Context) (bool, error) {
			accounts, err := e.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
			return err == nil && len(accounts.Items) >= 2*o.Namespaces, err
		})
		if err != nil {
			return fmt.Errorf("await service accounts: %w", err)
		}
		return nil
	})
}

// measureCold has a client create objects, and tenancy-controller as many of the same.
func measureCold(ctx context.Context, e *environment, r *report) error {
	all := namespacesOf(e.options)
	perNamespace := len(imposed(imposingTenant(e.options, 0), "x"))
	of := fmt.Sprintf("%d namespaces of %d Tenants, %d objects each: ", len(all), e.options.Tenants, perNamespace)
	progress("COLD: bare creates of %d objects", perNamespace*len(all))
	bare, err := e.createBare(ctx, all)
	if err != nil {
		return err
	}

	progress("COLD: tenancy-controller does the same")
	start := time.Now()
	if err := e.system.Controller.Start(ctx); err != nil {
		return fmt.Errorf("start tenancy-controller: %w", err)
	}
	if err := e.awaitImposed(ctx, all); err != nil {
		return err
	}
	cold := time.Since(start)
	peak, err := memory(e.system.Controller.Process, mostResident)
	if err != nil {
		return err
	}
	writes, peakAgain, err := e.restartController(ctx)
	if err != nil {
		return err
	}
	add := func(what string, value float64, unit string) {
		r.Figures = append(r.Figures, figure{Measurement: "COLD", What: of + what, Value: once(value), Unit: unit})
	}
	add(fmt.Sprintf("bare creates by %d at once", seedWorkers), bare.Seconds(), "s")
	add("from the start of tenancy-controller until all are there", cold.Seconds(), "s")
	add("resident of tenancy-controller, at most", peak, "MiB")
	add("the same, started with nothing to do", peakAgain, "MiB")
	add("its writes then", float64(writes), "")
	r.Targets = append(r.Targets,
		atMost("COLD, "+of+"settled, over bare creates", coldLimit, "x", once(cold.Seconds()/bare.Seconds())),
		atMost("COLD, "+of+"resident at most", coldMemory, "MiB", once(max(peak, peakAgain))),
		atMost("COLD, "+of+"writes of a second start", 0, "", once(float64(writes))))
	return nil
}

// createBare creates what the controller would, in the namespaces of no Tenant.
func (e *environment) createBare(ctx context.Context, all []seeded) (time.Duration, error) {
	tenants := make([]*capsulev1beta2.Tenant, e.options.Tenants)
	for i := range tenants {
		tenants[i] = imposingTenant(e.options, i)
		if err := e.objects.Get(ctx, ctrlclient.ObjectKeyFromObject(tenants[i]), tenants[i]); err != nil {
			return 0, fmt.Errorf("get tenant: %w", err)
		}
	}
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	for _, s := range all {
		group.Go(func() error {
			for _, object := range imposed(tenants[s.tenant], barePrefix+s.name) {
				// It is nobody's, or tenancy-controller would take it away.
				object.SetLabels(map[string]string{"bare": "true"})
				if err := e.objects.Create(ctx, object); err != nil {
					return fmt.Errorf("create %T: %w", object, err)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), err
}

// awaitImposed waits until the namespaces of Tenants have everything.
func (e *environment) awaitImposed(ctx context.Context, all []seeded) error {
	want := map[string]int{}
	for _, object := range imposed(imposingTenant(e.options, 0), "x") {
		want[fmt.Sprintf("%T", object)] += len(all)
	}
	kinds := map[string]schema.GroupVersionKind{
		"*v1.RoleBinding":   rbacv1.SchemeGroupVersion.WithKind("RoleBindingList"),
		"*v1.NetworkPolicy": networkingv1.SchemeGroupVersion.WithKind("NetworkPolicyList"),
		"*v1.LimitRange":    corev1.SchemeGroupVersion.WithKind("LimitRangeList"),
		"*v1.ResourceQuota": corev1.SchemeGroupVersion.WithKind("ResourceQuotaList"),
	}
	var reason error
	err := wait.PollUntilContextTimeout(ctx, coldPoll, coldWithin, true, func(ctx context.Context) (bool, error) {
		for kind, count := range want {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(kinds[kind])
			if err := e.objects.List(ctx, list, &ctrlclient.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}); err != nil {
				return false, err
			}
			found := 0
			for i := range list.Items {
				if owner := metav1.GetControllerOfNoCopy(&list.Items[i]); owner != nil && list.Items[i].Labels["bare"] == "" {
					found++
				}
			}
			if found < count {
				reason = fmt.Errorf("there are %d %s instead of %d", found, kind, count)
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("await what Tenants impose: %w: %w", err, reason)
	}
	return nil
}

// restartController returns how much a controller writes that finds everything done,
// and its memory.
func (e *environment) restartController(ctx context.Context) (writes int, peak float64, err error) {
	// What the first one has still to say, in status and events, it says.
	last := -1
	err = wait.PollUntilContextTimeout(ctx, quiet, coldWithin, true, func(context.Context) (bool, error) {
		before := last
		last, err = writesIn(e.system.ControlPlane.AuditLog())
		return last == before, err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("await the end of writes: %w", err)
	}
	progress("COLD: starting tenancy-controller with nothing to do")
	if err := e.system.Controller.Stop(); err != nil {
		return 0, 0, fmt.Errorf("stop tenancy-controller: %w", err)
	}
	if err := e.system.Controller.Start(ctx); err != nil {
		return 0, 0, fmt.Errorf("start tenancy-controller: %w", err)
	}
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(3 * quiet):
	}
	after, err := writesIn(e.system.ControlPlane.AuditLog())
	if err != nil {
		return 0, 0, err
	}
	peak, err = memory(e.system.Controller.Process, mostResident)
	return after - last, peak, err
}

// writesIn counts the writes of tenancy-controller in an audit log, but for those by
// which it is elected.
func writesIn(path string) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open audit log: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	count := 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Stage     string
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Resource string }
		}
		// The last line may be half written.
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.User.Username != controllerUser || event.Stage != "ResponseComplete" {
			continue
		}
		if slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, event.Verb) &&
			!slices.Contains([]string{"leases", "selfsubjectreviews", "tokenreviews", "subjectaccessreviews"}, event.ObjectRef.Resource) {
			count++
		}
	}
	return count, lines.Err()
}
