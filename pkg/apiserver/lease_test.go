// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

// rbacResources are what the index is fed with.
var rbacResources = []string{"clusterrolebindings", "clusterroles", "rolebindings", "roles"}

// actions records what is asked of a cluster, and refuses some of it.
type actions struct {
	lock    sync.Mutex
	asked   []string                              // protected by lock
	refused func(clienttesting.Action, int) error // protected by lock; the count is of the same asked before
}

// record makes a client record what it is asked.
func record(client *fake.Clientset) *actions {
	a := &actions{}
	note := func(action clienttesting.Action) (bool, error) {
		a.lock.Lock()
		defer a.lock.Unlock()
		what := action.GetVerb() + " " + action.GetResource().Resource
		count := 0
		for _, asked := range a.asked {
			if asked == what {
				count++
			}
		}
		a.asked = append(a.asked, what)
		if a.refused == nil {
			return false, nil
		}
		err := a.refused(action, count)
		return err != nil, err
	}
	for _, verb := range []string{"patch", "list"} {
		client.PrependReactor(verb, "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			handled, err := note(action)
			return handled, nil, err
		})
	}
	return a
}

func (a *actions) refuse(f func(clienttesting.Action, int) error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.refused = f
}

func (a *actions) all() []string {
	a.lock.Lock()
	defer a.lock.Unlock()
	return slices.Clone(a.asked)
}

// start runs a server whose client is recorded, and returns what its readiness
// check of a name answers.
func start(t *testing.T, config *Config) func(check string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	server := runServer(ctx, t, config)
	return func(check string) int {
		req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz"+check, nil)
		req.Header.Set("X-User", "kubelet")
		recorder := httptest.NewRecorder()
		server.generic.Handler.ServeHTTP(recorder, req)
		return recorder.Code
	}
}

func isLease(action clienttesting.Action) bool { return action.GetResource().Resource == "leases" }

// TestOrderOfReading holds a server to writing its Lease before it reads
// anything, and to reading RBAC before the objects of the views.
func TestOrderOfReading(t *testing.T) {
	config := newConfig(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil"}})
	asked := record(config.Extra.Clients.Kubernetes.(*fake.Clientset))
	ready := start(t, config)
	require.Eventually(t, func() bool { return ready("") == http.StatusOK }, patience, 5*time.Millisecond)

	all := asked.all()
	require.Len(t, all, 12, "%q", all)
	assert.Equal(t, "patch leases", all[0])
	slices.Sort(all[1:5])
	var want []string
	for _, resource := range rbacResources {
		want = append(want, "list "+resource)
	}
	assert.Equal(t, want, all[1:5])
	slices.Sort(all[5:])
	assert.Equal(t, []string{
		"list ingressclasses", "list namespaces", "list nodes", "list persistentvolumes", "list priorityclasses", "list runtimeclasses", "list storageclasses",
	}, all[5:])
}

// TestNothingIsReadWithoutTheLease holds a server that may not write its Lease to
// reading nothing, and to going on by itself once it may.
func TestNothingIsReadWithoutTheLease(t *testing.T) {
	for name, refusal := range map[string]error{
		"it is missing":  apierrors.NewNotFound(coordinationv1.Resource("leases"), Name),
		"it is refused":  apierrors.NewForbidden(coordinationv1.Resource("leases"), Name, errors.New("no")),
		"nobody answers": errors.New("connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil"}})
			asked := record(config.Extra.Clients.Kubernetes.(*fake.Clientset))
			asked.refuse(func(action clienttesting.Action, _ int) error {
				if isLease(action) {
					return refusal
				}
				return nil
			})
			ready := start(t, config)
			require.Eventually(t, func() bool { return len(asked.all()) >= 3 }, patience, 5*time.Millisecond, "it tries again")
			assert.Equal(t, http.StatusInternalServerError, ready("/lease"))
			assert.Equal(t, http.StatusInternalServerError, ready(""))
			for _, what := range asked.all() {
				assert.Equal(t, "patch leases", what)
			}

			asked.refuse(nil)
			require.Eventually(t, func() bool { return ready("") == http.StatusOK }, patience, 5*time.Millisecond)
			assert.Equal(t, http.StatusOK, ready("/lease"))
			all := asked.all()
			first := slices.IndexFunc(all, func(what string) bool { return what != "patch leases" })
			assert.NotContains(t, all[first:], "patch leases", "once is enough")
		})
	}
}

// TestRBACIsReadBeforeTheViews holds the views' feeds back until the last of RBAC
// has been read.
func TestRBACIsReadBeforeTheViews(t *testing.T) {
	for _, last := range rbacResources {
		t.Run(last, func(t *testing.T) {
			config := newConfig(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "oil"}})
			asked := record(config.Extra.Clients.Kubernetes.(*fake.Clientset))
			asked.refuse(func(action clienttesting.Action, before int) error {
				if action.GetResource().Resource == last && before == 0 {
					return errors.New("not yet")
				}
				return nil
			})
			ready := start(t, config)
			require.Eventually(t, func() bool { return ready("") == http.StatusOK }, patience, 5*time.Millisecond)
			all := asked.all()
			objects := slices.Index(all, "list namespaces")
			read := slices.Index(all, "list "+last)
			read += 1 + slices.Index(all[read+1:], "list "+last)
			assert.Less(t, read, objects, "%q", all)
		})
	}
}

// TestLease is what is written, and how often it is tried.
func TestLease(t *testing.T) {
	t.Parallel()
	type attempt struct {
		Namespace, Name string
		Type            types.PatchType
		Spec            coordinationv1.LeaseSpec
	}
	newLease := func(refusals int) (*lease, *[]time.Duration, *[]attempt) {
		client := fake.NewSimpleClientset(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: leaseNamespace, Name: Name}})
		started := time.Now()
		times, attempts := &[]time.Duration{}, &[]attempt{}
		client.PrependReactor("patch", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
			patch := action.(clienttesting.PatchAction)
			var body coordinationv1.Lease
			if err := json.Unmarshal(patch.GetPatch(), &body); err != nil {
				return true, nil, err
			}
			*times = append(*times, time.Since(started))
			*attempts = append(*attempts, attempt{patch.GetNamespace(), patch.GetName(), patch.GetPatchType(), body.Spec})
			if len(*times) <= refusals {
				return true, nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), Name)
			}
			return false, nil, nil
		})
		return &lease{client: client, clock: clock.RealClock{}}, times, attempts
	}
	t.Run("written", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l, times, attempts := newLease(0)
			require.ErrorIs(t, l.check(nil), errLeaseNotRenewed)
			l.renew(t.Context())
			require.NoError(t, l.check(nil))
			assert.Equal(t, []time.Duration{0}, *times)
			require.Len(t, *attempts, 1)
			written := (*attempts)[0]
			require.NotNil(t, written.Spec.HolderIdentity)
			assert.NotEmpty(t, *written.Spec.HolderIdentity)
			require.NotNil(t, written.Spec.RenewTime)
			assert.WithinDuration(t, time.Now(), written.Spec.RenewTime.Time, time.Millisecond)
			written.Spec = coordinationv1.LeaseSpec{}
			want := attempt{Namespace: "tenancy-system", Name: "tenancy-apiserver", Type: types.MergePatchType}
			if diff := cmp.Diff(want, written); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("tried again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l, times, _ := newLease(30)
			l.renew(t.Context())
			require.NoError(t, l.check(nil))
			require.Len(t, *times, 31)
			for i, at := range *times {
				if i == 0 {
					continue
				}
				pause := at - (*times)[i-1]
				assert.GreaterOrEqual(t, pause, 100*time.Millisecond, "pause %d", i)
				assert.LessOrEqual(t, pause, 12*time.Second, "pause %d", i)
			}
			assert.Less(t, (*times)[4], 5*time.Second, "a rollout that creates it a moment later")
		})
	})
	t.Run("given up", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l, _, _ := newLease(1000)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			l.renew(ctx)
			require.ErrorIs(t, l.check(nil), errLeaseNotRenewed)
		})
	})
}

// TestNothingIsReadWhenTheServerStops holds a server that stops before its Lease
// is written to reading nothing.
func TestNothingIsReadWhenTheServerStops(t *testing.T) {
	config := newConfig(t)
	asked := record(config.Extra.Clients.Kubernetes.(*fake.Clientset))
	asked.refuse(func(clienttesting.Action, int) error { return errors.New("connection refused") })
	completed, err := config.Complete()
	require.NoError(t, err)
	server, err := completed.New()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.runFeeds(ctx)
	}()
	require.Eventually(t, func() bool { return len(asked.all()) > 0 }, patience, time.Millisecond)
	cancel()
	<-stopped
	for _, what := range asked.all() {
		assert.Equal(t, "patch leases", what)
	}
}
