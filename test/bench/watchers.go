// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const (
	// watchersGroup is the group of everybody who watches, to whom noticeBoard is
	// visible.
	watchersGroup = "bench:watchers"
	noticeBoard   = "bench-notice-board"
	// grantTargets are the namespaces that are granted and revoked: nobody else
	// sees them.
	grantTargets = 20
	// watchesPerConnection is how many watches of different users share a connection.
	watchesPerConnection = 50
	// opening is how many watches are being opened at a time.
	opening = 16
)

func watcherName(i int) string     { return fmt.Sprintf("watcher-%04d", i) }
func grantTargetName(i int) string { return fmt.Sprintf("bench-grant-%02d", i%grantTargets) }

// as returns the client as that of a user who watches.
func (c *client) as(user string) *client {
	other := *c
	other.header = asWatcher(user)
	return &other
}

// ownNamespaces returns how many of the namespaces are those of one who watches,
// beside the notice board.
func (o options) ownNamespaces(watcher int) int {
	return (o.Namespaces - watcher + o.Watches - 1) / o.Watches
}

func bindingFor(name, namespace, subjectKind, subject string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: subjectKind, Name: subject}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
}

// seedWatchers shares the namespaces out among those who watch, and makes those
// that are for all and for none of them.
func (e *environment) seedWatchers(ctx context.Context) error {
	progress("Binding %d users who watch in the namespaces", e.options.Watches)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWorkers)
	bind := func(binding *rbacv1.RoleBinding) error {
		_, err := e.admin.RbacV1().RoleBindings(binding.Namespace).Create(ctx, binding, metav1.CreateOptions{})
		return ignoreExists("create role binding", err)
	}
	create := func(name string) error {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := e.admin.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		return ignoreExists("create namespace", err)
	}
	for i, s := range namespacesOf(e.options) {
		group.Go(func() error {
			return bind(bindingFor("bench-watcher", s.name, rbacv1.UserKind, watcherName(i%e.options.Watches)))
		})
	}
	for i := range grantTargets {
		group.Go(func() error { return create(grantTargetName(i)) })
	}
	group.Go(func() error {
		if err := create(noticeBoard); err != nil {
			return err
		}
		return bind(bindingFor("bench-watchers", noticeBoard, rbacv1.GroupKind, watchersGroup))
	})
	return group.Wait()
}

// openWatches opens the watches of the first users, through kube-apiserver, and
// returns when all have told their initial events.
func (e *environment) openWatches(ctx context.Context, count int) (*streams, error) {
	return e.openWatchesAt(ctx, e.adminConfig, viewPath, count)
}

// openWatchesAt opens them by a client who may impersonate them, at the path of a resource.
func (e *environment) openWatchesAt(ctx context.Context, config *rest.Config, path string, count int) (*streams, error) {
	progress("Opening %d watches", count)
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	s := &streams{open: make([]*stream, count), cancel: cancel}
	var connections []*client
	for range (count + watchesPerConnection - 1) / watchesPerConnection {
		c, err := newClient(config, nil)
		if err != nil {
			cancel()
			return nil, err
		}
		connections = append(connections, c)
	}
	var group errgroup.Group
	group.SetLimit(opening)
	for i := range count {
		group.Go(func() error {
			user := watcherName(i)
			return s.add(ctx, connections[i%len(connections)].as(user), path, i, user, e.options.ownNamespaces(i)+1)
		})
	}
	if err := group.Wait(); err != nil {
		s.close()
		return nil, err
	}
	progress("Opened in %s", time.Since(start).Round(time.Millisecond))
	return s, nil
}
