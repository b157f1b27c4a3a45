// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// leaseNamespace and the server's name are those of the Lease in artifacts/base.
	leaseNamespace = "tenancy-system"
	leasePatience  = 10 * time.Second
)

// lease is written once, before anything is read: every revision that is read
// afterwards is greater than any that an earlier server could have handed out.
// Without it, in a cluster where nothing was written meanwhile but the revocation
// of somebody's access, a client that resumes at a revision of the earlier server
// could not be told from one that is up to date.
type lease struct {
	client  kubernetes.Interface
	clock   clock.Clock
	renewed atomic.Bool
}

var errLeaseNotRenewed = errors.New("the Lease " + leaseNamespace + "/" + Name + " has not been renewed yet")

func (l *lease) check(*http.Request) error {
	if !l.renewed.Load() {
		return errLeaseNotRenewed
	}
	return nil
}

// renew returns when the Lease has been written, or the context is done.
func (l *lease) renew(ctx context.Context) {
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 10 * time.Second}
	err := backoff.DelayFunc().Until(ctx, true, false, func(ctx context.Context) (bool, error) {
		err := l.write(ctx)
		if err == nil {
			return true, nil
		}
		remedy := "retrying"
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			remedy = "apply artifacts/base/rbac, which has the Lease and the right to patch it"
		}
		klog.FromContext(ctx).Error(err, "Cannot renew the Lease and reads nothing until it can", "lease", klog.KRef(leaseNamespace, Name), "remedy", remedy)
		return false, nil
	})
	l.renewed.Store(err == nil)
}

func (l *lease) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	identity, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("get host name: %w", err)
	}
	now := metav1.NewMicroTime(l.clock.Now())
	patch, err := json.Marshal(map[string]any{"spec": coordinationv1.LeaseSpec{HolderIdentity: &identity, RenewTime: &now}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = l.client.CoordinationV1().Leases(leaseNamespace).Patch(ctx, Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
