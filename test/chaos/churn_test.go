// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// initialEdits are made before anything else.
	initialEdits = 150
	// Between two edits there is a random time, up to this one.
	editPause = 40 * time.Millisecond
)

// churn makes random edits as the administrator, one after the other.
type churn struct {
	client client.Client
	seed   uint64
	log    *os.File
	// next is the number of the next edit; the goroutine that edits has it.
	next uint64
	// byHand is what was edited that is the controller's.
	byHand byHand

	made atomic.Int64
	// cancel ends the edits that are under way, done is closed then, after what went
	// wrong was sent.
	cancel context.CancelFunc
	done   chan error
}

func newChurn(t *testing.T, c client.Client, seed uint64) *churn {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "edits.log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return &churn{client: c, seed: seed, log: log, byHand: newByHand(), cancel: func() {}}
}

func (c *churn) note(format string, args ...any) {
	fmt.Fprintf(c.log, time.Now().Format("15:04:05.000")+" "+format+"\n", args...) //nolint:errcheck // nobody is left to be told
}

// edit makes so many edits at once.
func (c *churn) edit(ctx context.Context, n int) error {
	for range n {
		if err := c.editOnce(ctx, edit.make); err != nil {
			return err
		}
	}
	return nil
}

// start makes edits in the background until it is told to stop.
func (c *churn) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c.cancel, c.done = cancel, make(chan error, 1)
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			pause := time.Duration(newRandom(c.seed, c.next).Int64N(int64(editPause)))
			if err := c.editOnce(context.WithoutCancel(ctx), edit.make); err != nil {
				c.done <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
}

// stop ends the edits, between two of them.
func (c *churn) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	require.NoError(t, <-c.done)
}

// editOnce makes the next edit, of a sort.
func (c *churn) editOnce(ctx context.Context, sort func(edit, context.Context) error) error {
	n := c.next
	c.next++
	e := edit{churn: c, random: newRandom(c.seed, n), number: n}
	if err := sort(e, ctx); err != nil {
		return fmt.Errorf("edit %d: %w", n, err)
	}
	c.made.Add(1)
	return nil
}

// edit is one random edit.
type edit struct {
	*churn
	random

	number uint64
}

// make makes an edit of any sort.
func (e edit) make(ctx context.Context) error {
	tenant, object := pick(e.random, tenantNames...), pick(e.random, objectNames...)
	switch n := e.IntN(100); {
	case n < 25:
		return e.changeTenant(ctx, tenant)
	case n < 26:
		return e.delete(ctx, newTenant(tenant))
	case n < 28:
		return e.replaceTenant(ctx, tenant)
	case n < 46:
		return e.changeObject(ctx, pick(e.random, nodes, nodes, storageClasses, ingressClasses, priorityClasses, runtimeClasses), object)
	case n < 54:
		return e.changeVolume(ctx, object)
	case n < 68:
		return e.changeNamespace(ctx, pick(e.random, namespaceNames...), tenant)
	case n < 77:
		return e.changeSetting(ctx, pick(e.random, namespaceNames...), pick(e.random, settingNames...))
	case n < 80:
		return e.changeGlobal(ctx, pick(e.random, settingNames...))
	case n < 95:
		return e.nudge(ctx)
	default:
		return e.addForeign(ctx)
	}
}

// nudge makes an edit that concerns owners, or of what is the controller's. Where others
// follow it, these have the controller look at the same Tenants and namespaces again.
func (e edit) nudge(ctx context.Context) error {
	switch n := e.IntN(15); {
	case n < 3:
		return e.changeTenantOwner(ctx, pick(e.random, ownerNames...))
	case n < 4:
		return e.changeConfiguration(ctx)
	case n < 6:
		return e.changeAccount(ctx, pick(e.random, namespaceNames...))
	default:
		return e.meddle(ctx)
	}
}

// done notes an edit. One that what is there does not admit is none.
func (e edit) do(what string, object client.Object, err error) error {
	e.note("%d: %s %T %s: %v", e.number, what, object, client.ObjectKeyFromObject(object), err)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("%s %T %s: %w", what, object, object.GetName(), err)
}

func (e edit) create(ctx context.Context, object client.Object) error {
	return e.do("create", object, e.client.Create(ctx, object))
}

func (e edit) delete(ctx context.Context, object client.Object) error {
	return e.do("delete", object, e.client.Delete(ctx, object))
}

// replace has the name made again, at once, by another object.
func (e edit) replace(ctx context.Context, object client.Object) error {
	old, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return errors.New("no object")
	}
	return errors.Join(e.delete(ctx, old), e.create(ctx, object))
}

// change changes an object, or makes it if there is none.
func (e edit) change(ctx context.Context, object client.Object, change func()) error {
	switch err := e.client.Get(ctx, client.ObjectKeyFromObject(object), object); {
	case apierrors.IsNotFound(err):
		change()
		return e.create(ctx, object)
	case err != nil:
		return err
	default:
		change()
		return e.do("update", object, e.client.Update(ctx, object))
	}
}
