// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	capsulev1beta1 "tenancy.capsule.io/apis/capsule/v1beta1"
	capsulev1beta2 "tenancy.capsule.io/apis/capsule/v1beta2"
	"tenancy.capsule.io/test/framework"
)

const (
	// alice owns the tenant that is measured.
	alice       = "alice"
	tenantGroup = "capsule.clastix.io"
)

// environment is the running system and those who ask it.
type environment struct {
	options options
	system  *framework.System
	dir     string
	// ours is set if the directory was made for this run.
	ours bool

	admin kubernetes.Interface
	// objects is the administrator's client of any kind, that of Tenants among them.
	objects ctrlclient.Client
	// visible are the names that alice sees, in order.
	visible []string
	// asAlice and asAdmin ask kube-apiserver; asProxy asks tenancy-apiserver for
	// alice as kube-apiserver does. There are as many as ever ask at once.
	asAlice, asAdmin, asProxy []*client
	// asOperator asks tenancy-apiserver as one who may ask anything.
	asOperator *client
	// adminConfig is of an administrator's client of kube-apiserver, proxyConfig of
	// kube-apiserver's client of tenancy-apiserver.
	adminConfig, proxyConfig *rest.Config
	// announced counts the changes that announce has made.
	announced int
}

// newEnvironment starts a system, in which Tenants are given by tenancy-controller if
// the system is to have one. After an error nothing runs.
func newEnvironment(ctx context.Context, o options, controller bool) (*environment, error) {
	e := &environment{options: o, dir: o.dir, visible: namesOf(namespacesOf(o)[:o.Visible])}
	if err := errors.Join(o.makeProfileDir(), e.makeDir()); err != nil {
		return nil, err
	}
	run := framework.Options{Dir: e.dir, Server: "bin/tenancy-apiserver", ServerArgs: o.argsOfServer()}
	if controller {
		run.Controller, run.ControllerArgs = "bin/tenancy-controller", o.controllerArgs
	}
	progress("Starting a control plane, tenancy-apiserver and what else it takes in %s", e.dir)
	var err error
	if e.system, err = framework.Start(ctx, run); err != nil {
		return nil, fmt.Errorf("start system, its logs are in %s: %w", e.dir, err)
	}
	if err := e.connect(); err != nil {
		return nil, errors.Join(err, e.close(true))
	}
	return e, nil
}

func (e *environment) makeDir() (err error) {
	if e.dir == "" {
		e.ours = true
		e.dir, err = os.MkdirTemp("", "tenancy-bench-")
		return err
	}
	if _, err := os.Stat(e.dir); errors.Is(err, fs.ErrNotExist) {
		e.ours = true
	}
	return os.MkdirAll(e.dir, 0o700)
}

// size says how large the cluster is.
func (e *environment) size() string {
	return fmt.Sprintf("%s, %d nodes", e.namespaces(), e.options.Nodes)
}

func (e *environment) namespaces() string {
	return fmt.Sprintf("%d namespaces", e.options.Namespaces)
}

// close stops the system and removes its state unless somebody may want it.
func (e *environment) close(failed bool) error {
	err := e.system.Stop()
	if !e.ours || e.options.keep || failed || err != nil {
		progress("The state is in %s", e.dir)
		return err
	}
	return os.RemoveAll(e.dir)
}

// connect makes the clients.
func (e *environment) connect() error {
	var err error
	if e.adminConfig, err = e.system.ControlPlane.AdminConfig(); err != nil {
		return err
	}
	aliceConfig, err := e.system.ControlPlane.RESTConfig(alice, tenantGroup)
	if err != nil {
		return err
	}
	cert, key, _ := e.system.ControlPlane.FrontProxyFiles()
	e.proxyConfig = &rest.Config{Host: e.system.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: e.system.ControlPlane.CACert(), CertFile: cert, KeyFile: key,
	}}
	for range slices.Max(e.options.Clients) {
		for _, c := range []struct {
			clients *[]*client
			config  *rest.Config
			header  http.Header
		}{
			{&e.asAdmin, e.adminConfig, nil},
			{&e.asAlice, aliceConfig, nil},
			{&e.asProxy, e.proxyConfig, http.Header{
				"X-Remote-User":  {alice},
				"X-Remote-Group": {tenantGroup, "system:authenticated"},
			}},
		} {
			client, err := newClient(c.config, c.header)
			if err != nil {
				return err
			}
			*c.clients = append(*c.clients, client)
		}
	}
	e.asOperator, err = newClient(e.proxyConfig, http.Header{"X-Remote-User": {"operator"}, "X-Remote-Group": {user.SystemPrivilegedGroup}})
	if err != nil {
		return err
	}
	seeding := rest.CopyConfig(e.adminConfig)
	seeding.ContentType = runtime.ContentTypeProtobuf
	// Versions are in JSON only.
	seeding.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if e.admin, err = kubernetes.NewForConfig(seeding); err != nil {
		return err
	}
	return e.connectObjects()
}

// connectObjects makes the client of any kind.
func (e *environment) connectObjects() error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), capsulev1beta1.AddToScheme(scheme), capsulev1beta2.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("make scheme: %w", err)
	}
	var err error
	e.objects, err = ctrlclient.New(rest.CopyConfig(e.adminConfig), ctrlclient.Options{Scheme: scheme})
	return err
}

// progress says what is being done, apart from the results.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
