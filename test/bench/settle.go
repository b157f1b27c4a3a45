// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"tenancy.capsule.io/pkg/registry"
)

const (
	settlePoll   = time.Second
	settleWithin = 10 * time.Minute
)

// settle returns when alice sees her namespaces in the view and nobody writes any
// more: the controllers have made in every namespace what they make, and the
// cluster's revision stands still.
func (e *environment) settle(ctx context.Context) error {
	progress("Waiting until everything is in the view and the controllers are done")
	last := ""
	var reason error
	err := wait.PollUntilContextTimeout(ctx, settlePoll, settleWithin, true, func(ctx context.Context) (bool, error) {
		last, reason = e.settled(ctx, last)
		return reason == nil, nil
	})
	if err != nil {
		return fmt.Errorf("await the end of seeding: %w: %w", err, reason)
	}
	return nil
}

// settled returns the revision of the cluster, and an error that says what is not
// yet as it has to be, or that the revision is not the last one.
func (e *environment) settled(ctx context.Context, last string) (string, error) {
	if _, err := e.asAlice[0].check(ctx, question{target: viewPath, accept: jsonAccept}, e.visible); err != nil {
		return "", err
	}
	revision, err := e.controllersDone(ctx)
	if err == nil && revision != last {
		err = fmt.Errorf("the revision changed from %q to %q", last, revision)
	}
	return revision, err
}

// controllersDone returns the revision of the cluster, or an error that says what
// is not yet there. Controllers that do not run are done.
func (e *environment) controllersDone(ctx context.Context) (string, error) {
	namespaces, err := e.admin.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: registry.TenantLabel})
	if err != nil {
		return "", err
	}
	if n := len(namespaces.Items); n != e.options.Namespaces {
		return "", fmt.Errorf("there are %d namespaces of tenants instead of %d", n, e.options.Namespaces)
	}
	if !e.system.ControlPlane.ControllerManager().Running() {
		return namespaces.ResourceVersion, nil
	}
	accounts, err := e.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
	if err != nil {
		return "", err
	}
	cas, err := e.admin.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=kube-root-ca.crt"})
	if err != nil {
		return "", err
	}
	if a, c := len(accounts.Items), len(cas.Items); min(a, c) < e.options.Namespaces {
		return "", fmt.Errorf("there are %d service accounts and %d config maps in %d namespaces", a, c, e.options.Namespaces)
	}
	return cas.ResourceVersion, nil
}
