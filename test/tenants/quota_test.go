// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
)

// quotaSums adds up what the ResourceQuotas of a tenant say is used.
type quotaSums struct {
	limits corev1.ResourceList

	lock sync.Mutex
	// used is by namespace, excess what was too much. lock protects both.
	used   map[string]corev1.ResourceList
	excess []string
	events int
}

// watchQuota looks at every change of a tenant's ResourceQuotas until the test is over.
func watchQuota(t *testing.T, tenant string, limits corev1.ResourceList) *quotaSums {
	t.Helper()
	s := &quotaSums{limits: limits, used: map[string]corev1.ResourceList{}}
	c, of := admin(t), client.MatchingLabels{"projectcapsule.dev/tenant": tenant}
	var list corev1.ResourceQuotaList
	require.NoError(t, c.List(t.Context(), &list, of))
	for i := range list.Items {
		s.saw(&list.Items[i])
	}
	w, err := c.Watch(t.Context(), &corev1.ResourceQuotaList{}, of, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range w.ResultChan() {
			if quota, ok := event.Object.(*corev1.ResourceQuota); ok && event.Type != watch.Deleted {
				s.saw(quota)
			}
		}
	}()
	t.Cleanup(func() {
		w.Stop()
		<-done
	})
	return s
}

func (s *quotaSums) saw(quota *corev1.ResourceQuota) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.events++
	s.used[quota.Namespace] = quota.Status.Used
	for name, limit := range s.limits {
		if sum := s.sumLocked(name); sum.Cmp(limit) > 0 {
			s.excess = append(s.excess, fmt.Sprintf("%s of %s %s in revision %s of %s", sum.String(), limit.String(), name, quota.ResourceVersion, quota.Namespace))
		}
	}
}

func (s *quotaSums) sumLocked(name corev1.ResourceName) resource.Quantity {
	var sum resource.Quantity
	for _, used := range s.used {
		sum.Add(used[name])
	}
	return sum
}

// sum returns what is used of a resource.
func (s *quotaSums) sum(name corev1.ResourceName) int64 {
	s.lock.Lock()
	defer s.lock.Unlock()
	sum := s.sumLocked(name)
	return sum.Value()
}

// requireWithin holds that it never was too much.
func (s *quotaSums) requireWithin(t *testing.T) {
	t.Helper()
	s.lock.Lock()
	defer s.lock.Unlock()
	t.Logf("%d events", s.events)
	require.Empty(t, s.excess)
}

// quotaRequests returns how many requests the webhook has answered.
func quotaRequests(t *testing.T) (count int) {
	t.Helper()
	text, err := metrics(t.Context(), system.Controller)
	require.NoError(t, err)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "controller_runtime_webhook_requests_total{") && strings.Contains(line, `webhook="/resourcequotas/mutating"`) {
			n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:len(line)-1], 64)
			require.NoError(t, err)
			count += int(n)
		}
	}
	return count
}

// TestSharedQuotaAtOnce has 20 namespaces of a tenant create all that they can at the
// same moment.
func TestSharedQuotaAtOnce(t *testing.T) {
	const (
		user       = "crowe"
		namespaces = 20
		creators   = 3 // of pods, in each namespace, and one of services
	)
	limits := corev1.ResourceList{
		"pods": resource.MustParse("30"), "requests.cpu": resource.MustParse("3"), "services": resource.MustParse("25"),
	}
	createTenant(t, "crowd", capsulev1beta2.TenantSpec{
		Owners:         []capsulev1beta2.OwnerSpec{owner(user)},
		ResourceQuotas: &capsulev1beta2.ResourceQuotas{Items: []corev1.ResourceQuotaSpec{{Hard: limits}}},
	})
	names := make([]string, namespaces)
	c, alice := admin(t), as(t, user)
	for i := range names {
		names[i] = fmt.Sprintf("crowd-%02d", i)
		createNamespace(t, user, names[i])
	}
	for _, name := range names {
		await(t, "service account and quota of "+name, true, func(ctx context.Context) (bool, error) {
			quota := &corev1.ResourceQuota{}
			if err := c.Get(ctx, client.ObjectKey{Namespace: name, Name: "capsule-crowd-0"}, quota); err != nil {
				return false, err
			}
			err := c.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{})
			return len(quota.Status.Used) == len(limits), err
		})
	}
	sums := watchQuota(t, "crowd", limits)
	asked := quotaRequests(t)
	var refused atomic.Int64
	create := func(ctx context.Context, object client.Object) bool {
		err := alice.Create(ctx, object)
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
			t.Errorf("create %T: %v", object, err)
		}
		if err != nil {
			refused.Add(1)
		}
		return err == nil
	}
	pod := func(namespace string) client.Object {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "c", Image: "example.com/c",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
			}}},
		}
	}
	service := func(namespace string) client.Object {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "s-"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}

	// All of it can be used, and at no time more.
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var group errgroup.Group
	for _, name := range names {
		work := func(resource corev1.ResourceName, limit int64, object func(string) client.Object) {
			group.Go(func() error {
				return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
					for sums.sum(resource) < limit && create(ctx, object(name)) {
					}
					return sums.sum(resource) >= limit, nil
				})
			})
		}
		for range creators {
			work("pods", 30, pod)
		}
		work("services", 25, service)
	}
	require.NoError(t, group.Wait())
	t.Logf("all was used after %v; %d requests were refused, the webhook answered %d", time.Since(started), refused.Load(), quotaRequests(t)-asked)
	sums.requireWithin(t)
	count := func(ctx context.Context, list client.ObjectList) (int, error) {
		total := 0
		for _, name := range names {
			if err := c.List(ctx, list, client.InNamespace(name)); err != nil {
				return 0, err
			}
			objects, err := itemsOf(list)
			if err != nil {
				return 0, err
			}
			total += len(objects)
		}
		return total, nil
	}
	for list, want := range map[client.ObjectList]int{&corev1.PodList{}: 30, &corev1.ServiceList{}: 25} {
		got, err := count(t.Context(), list)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%T", list)
	}

	// What one namespace gives up another gets.
	var pods corev1.PodList
	require.NoError(t, c.List(t.Context(), &pods, client.MatchingFields{}))
	giver := ""
	for i := range pods.Items {
		if strings.HasPrefix(pods.Items[i].Namespace, "crowd-") {
			giver = pods.Items[i].Namespace
			break
		}
	}
	require.NotEmpty(t, giver)
	require.NoError(t, c.List(t.Context(), &pods, client.InNamespace(giver)))
	require.NoError(t, alice.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(giver)))
	taker := names[0]
	if taker == giver {
		taker = names[1]
	}
	started = time.Now()
	given := len(pods.Items)
	for taken := 0; taken < given; {
		require.NoError(t, wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, eventually, true, func(ctx context.Context) (bool, error) {
			return create(ctx, pod(taker)), nil
		}))
		taken++
	}
	t.Logf("%d pods moved to another namespace after %v", given, time.Since(started))
	require.False(t, create(t.Context(), pod(taker)))
	sums.requireWithin(t)
}

// TestSharedQuotaAhead holds that nobody is asked while much is left, and that what was
// granted can be used while no controller runs.
func TestSharedQuotaAhead(t *testing.T) {
	const user, namespace = "hedda", "ahead-1"
	createTenant(t, "ahead", capsulev1beta2.TenantSpec{
		Owners: []capsulev1beta2.OwnerSpec{owner(user)},
		ResourceQuotas: &capsulev1beta2.ResourceQuotas{Items: []corev1.ResourceQuotaSpec{
			{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("400")}},
		}},
	})
	createNamespace(t, user, namespace)
	c, hedda := admin(t), as(t, user)
	granted := func(ctx context.Context) (int, error) {
		quota := &corev1.ResourceQuota{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "capsule-ahead-0"}, quota); err != nil {
			return 0, err
		}
		text, _ := strings.CutPrefix(quota.Annotations["quota.tenancy.capsule.io/granted"], "count/configmaps=")
		return strconv.Atoi(text)
	}
	var most int
	await(t, "what is granted ahead", true, func(ctx context.Context) (bool, error) {
		var err error
		most, err = granted(ctx)
		return most > 40, err
	})
	create := func() error {
		return hedda.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "c-"}})
	}
	asked := quotaRequests(t)
	for range 30 {
		require.NoError(t, create())
	}
	require.Equal(t, asked, quotaRequests(t), "the webhook was asked")

	t.Cleanup(func() { require.NoError(t, system.Controller.Start(context.WithoutCancel(t.Context()))) })
	require.NoError(t, system.Controller.Stop())
	most, err := granted(t.Context())
	require.NoError(t, err)
	// Each namespace has the ConfigMap of the cluster's CA.
	for range most - 31 {
		require.NoError(t, create())
	}
	require.ErrorContains(t, create(), "resourcequotas.mutating.tenancy.capsule.io")
}
