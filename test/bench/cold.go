// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/pkg/controller/namespaces"
	"tenancy.capsule.io/pkg/registry"
	"tenancy.capsule.io/pkg/tenant"
	"tenancy.capsule.io/test/framework/controlplane"
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

// cold measures what tenancy-controller makes at once when it is started, and the same
// made by a client, each in a cluster of its own: who comes second would be held up by
// what the first one made.
type cold struct {
	// bare is how long a client took, and bareCPU how long processors worked then.
	bare, bareCPU time.Duration
}

func (c *cold) clusters() []cluster {
	return []cluster{
		{openCold, []measurement{{"COLD", c.measureBare}}},
		{openCold, []measurement{{"COLD", c.measure}}},
	}
}

// openCold opens a cluster with Tenants that impose objects, and their namespaces, in
// which nothing of it is yet, for tenancy-controller does not run.
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
		progress("Waiting until the garbage collector knows Tenants")
		if err := e.awaitCollector(ctx); err != nil {
			return err
		}
		if err := e.system.Controller.Stop(); err != nil {
			return fmt.Errorf("stop tenancy-controller: %w", err)
		}
		progress("Creating %d namespaces", o.Namespaces)
		if err := e.createNamespaces(ctx, uids, namespacesOf(o)); err != nil {
			return err
		}
		progress("Waiting until the controllers are done")
		err := wait.PollUntilContextTimeout(ctx, coldPoll, coldWithin, true, func(ctx context.Context) (bool, error) {
			accounts, err := e.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
			return err == nil && len(accounts.Items) >= o.Namespaces, err
		})
		if err != nil {
			return fmt.Errorf("await service accounts: %w", err)
		}
		return nil
	})
}

// awaitCollector waits until the garbage collector watches Tenants. Until then it asks
// the API server about each object that a Tenant owns.
func (e *environment) awaitCollector(ctx context.Context) error {
	owner := &capsulev1beta2.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "collected"}}
	owner.Spec.Owners = imposingTenant(e.options, 0).Spec.Owners
	if err := e.objects.Create(ctx, owner); err != nil {
		return fmt.Errorf("create tenant: %w", err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: "collected", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: capsulev1beta2.SchemeGroupVersion.String(), Kind: tenant.Kind, Name: owner.Name, UID: owner.UID,
		}},
	}}
	if err := e.objects.Create(ctx, owned); err != nil {
		return fmt.Errorf("create what a tenant owns: %w", err)
	}
	if err := e.objects.Delete(ctx, owner); err != nil {
		return fmt.Errorf("delete tenant: %w", err)
	}
	err := wait.PollUntilContextTimeout(ctx, coldPoll, coldWithin, true, func(ctx context.Context) (bool, error) {
		err := e.objects.Get(ctx, ctrlclient.ObjectKeyFromObject(owned), owned)
		return apierrors.IsNotFound(err), ctrlclient.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("await the collection of garbage: %w", err)
	}
	return nil
}

// coldSize says how much is made.
func (e *environment) coldSize() string {
	perNamespace := len(imposed(imposingTenant(e.options, 0), "x"))
	return fmt.Sprintf("%d namespaces of %d Tenants, %d objects each: ", e.options.Namespaces, e.options.Tenants, perNamespace)
}

// measureBare has a client create what tenancy-controller would.
func (c *cold) measureBare(ctx context.Context, e *environment, r *report) error {
	progress("COLD: bare creates, %s", e.coldSize())
	var err error
	c.bareCPU, err = e.controlPlaneCPU(func() error {
		c.bare, err = e.createBare(ctx, namespacesOf(e.options))
		return err
	})
	if err != nil {
		return err
	}
	of := e.coldSize()
	r.coldFigure(of+fmt.Sprintf("bare creates by %d at once", seedWorkers), c.bare.Seconds(), "s")
	r.coldFigure(of+"processor time of the control plane for them", c.bareCPU.Seconds(), "s")
	return nil
}

// measure has tenancy-controller make the objects.
func (c *cold) measure(ctx context.Context, e *environment, r *report) error {
	of := e.coldSize()
	progress("COLD: tenancy-controller, %s", of)
	var took time.Duration
	cpu, err := e.controlPlaneCPU(func() error {
		start := time.Now()
		if err := e.system.Controller.Start(ctx); err != nil {
			return fmt.Errorf("start tenancy-controller: %w", err)
		}
		last, err := e.awaitImposed(ctx)
		took = last.Sub(start)
		return err
	})
	if err != nil {
		return err
	}
	if err := e.verifyImposed(ctx); err != nil {
		return err
	}
	own, err := cpuSeconds(e.system.Controller.Process)
	if err != nil {
		return err
	}
	peak, err := memory(e.system.Controller.Process, mostResident)
	if err != nil {
		return err
	}
	writes, peakAgain, err := e.restartController(ctx)
	if err != nil {
		return err
	}
	r.coldFigure(of+"from the start of tenancy-controller until all are there", took.Seconds(), "s")
	r.coldFigure(of+"processor time of the control plane for them", cpu.Seconds(), "s")
	r.coldFigure(of+"processor time of tenancy-controller", own, "s")
	r.coldFigure(of+"resident of tenancy-controller, at most", peak, "MiB")
	r.coldFigure(of+"the same, started with nothing to do", peakAgain, "MiB")
	r.coldFigure(of+"its writes then", float64(writes), "")
	r.Targets = append(r.Targets,
		atMost("COLD, "+of+"settled, over bare creates", coldLimit, "x", once(took.Seconds()/c.bare.Seconds())),
		atMost("COLD, "+of+"resident at most", coldMemory, "MiB", once(max(peak, peakAgain))),
		atMost("COLD, "+of+"writes of a second start", 0, "", once(float64(writes))))
	return nil
}

func (r *report) coldFigure(what string, value float64, unit string) {
	r.Figures = append(r.Figures, figure{Measurement: "COLD", What: what, Value: once(value), Unit: unit})
}

// controlPlaneCPU returns how long processors worked for etcd, the API server and
// kube-controller-manager while something was done.
func (e *environment) controlPlaneCPU(do func() error) (time.Duration, error) {
	cp := e.system.ControlPlane
	sum := func() (sum float64, err error) {
		for _, p := range []*controlplane.Process{cp.Etcd(), cp.APIServer(), cp.ControllerManager()} {
			seconds, cpuErr := cpuSeconds(p)
			sum, err = sum+seconds, errors.Join(err, cpuErr)
		}
		return sum, err
	}
	before, err := sum()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := sum()
	return time.Duration((after - before) * float64(time.Second)), err
}

// createBare creates what the controller would.
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
			for _, object := range imposed(tenants[s.tenant], s.name) {
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

// awaitImposed waits until tenancy-controller has created everything and returns when
// that was. It asks the audit log: lists of so many objects would take the API server
// as long as it takes to create many of them.
func (e *environment) awaitImposed(ctx context.Context) (last time.Time, err error) {
	kinds := sets.New("rolebindings", "networkpolicies", "limitranges", "resourcequotas")
	want := e.options.Namespaces * len(imposed(imposingTenant(e.options, 0), "x"))
	created, offset := 0, int64(0)
	err = wait.PollUntilContextTimeout(ctx, time.Second, coldWithin, true, func(context.Context) (bool, error) {
		var err error
		offset, err = readAudit(e.system.ControlPlane.AuditLog(), offset, func(event *auditv1.Event) {
			if event.User.Username == controllerUser && event.Verb == "create" && event.ResponseStatus.Code == http.StatusCreated && kinds.Has(event.ObjectRef.Resource) {
				created++
				last = event.StageTimestamp.Time
			}
		})
		return created >= want, err
	})
	if err != nil {
		return last, fmt.Errorf("await what Tenants impose, of which there are %d instead of %d: %w", created, want, err)
	}
	return last, nil
}

// verifyImposed returns an error unless the namespaces have everything.
func (e *environment) verifyImposed(ctx context.Context) error {
	want := map[string]int{}
	for _, object := range imposed(imposingTenant(e.options, 0), "x") {
		want[fmt.Sprintf("%T", object)] += e.options.Namespaces
	}
	for kind, gvk := range map[string]schema.GroupVersionKind{
		"*v1.RoleBinding":   rbacv1.SchemeGroupVersion.WithKind("RoleBindingList"),
		"*v1.NetworkPolicy": networkingv1.SchemeGroupVersion.WithKind("NetworkPolicyList"),
		"*v1.LimitRange":    corev1.SchemeGroupVersion.WithKind("LimitRangeList"),
		"*v1.ResourceQuota": corev1.SchemeGroupVersion.WithKind("ResourceQuotaList"),
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk)
		if err := e.objects.List(ctx, list); err != nil {
			return fmt.Errorf("list %s: %w", gvk.Kind, err)
		}
		list.Items = slices.DeleteFunc(list.Items, func(object metav1.PartialObjectMetadata) bool {
			owner := metav1.GetControllerOfNoCopy(&object)
			return owner == nil || owner.Kind != tenant.Kind
		})
		if len(list.Items) != want[kind] {
			return fmt.Errorf("there are %d %s instead of %d", len(list.Items), kind, want[kind])
		}
	}
	return nil
}

// restartController returns how much a controller writes that finds everything done,
// and its memory.
func (e *environment) restartController(ctx context.Context) (writes int, peak float64, err error) {
	// What the first one has still to say, in status and events, it says.
	log := e.system.ControlPlane.AuditLog()
	var offset int64
	err = wait.PollUntilContextTimeout(ctx, quiet, coldWithin, true, func(context.Context) (bool, error) {
		var more int
		more, offset, err = writesIn(log, offset)
		return more == 0, err
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
	writes, _, err = writesIn(log, offset)
	if err != nil {
		return 0, 0, err
	}
	peak, err = memory(e.system.Controller.Process, mostResident)
	return writes, peak, err
}
