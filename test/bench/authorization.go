// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"tenancy.capsule.io/pkg/registry"
)

const (
	// authorizationLimit, in microseconds, and bindingsLimit, for each Tenant, are of
	// the performance budget.
	authorizationLimit = 100
	bindingsLimit      = 2

	// What an authorization takes is the mean of a turn of so many requests. There are
	// so many times the rounds, for the mean of few is not what it was when the machine
	// does something else meanwhile.
	authorizationRequests = 400
	authorizationRounds   = 3
	// askedFor is the name of the ConfigMap that is asked for, plainNamespace that of
	// a namespace of no Tenant, robot that of a service account in it.
	askedFor       = "bench"
	plainNamespace = "bench-plain"
	robot          = "robot"

	// compiledPoll is rare enough for the lists not to be in the way.
	compiledPoll   = 250 * time.Millisecond
	compiledWithin = 10 * time.Minute
)

// authorizations are what kube-apiserver has decided.
type authorizations struct{ count, seconds float64 }

// authorizationsOf asks kube-apiserver for the authorizations of all requests. Beside
// those that are measured there are a few, of the controllers, that cost the same.
func authorizationsOf(ctx context.Context, asAdmin *client) (authorizations, error) {
	var body bytes.Buffer
	if _, err := asAdmin.ask(ctx, question{target: "/metrics", accept: "text/plain"}, &body); err != nil {
		return authorizations{}, err
	}
	return authorizationsIn(body.String())
}

func authorizationsIn(metrics string) (authorizations, error) {
	const name = "authorization_duration_seconds"
	count, countErr := sumOf(metrics, name+"_count", "")
	seconds, secondsErr := sumOf(metrics, name+"_sum", "")
	err := errors.Join(countErr, secondsErr)
	if err == nil && count == 0 {
		err = fmt.Errorf("there is no metric %s", name)
	}
	return authorizations{count, seconds}, err
}

// meanSince returns how many microseconds an authorization took since then, of which
// there were so many that are meant, and perhaps others.
func (a authorizations) meanSince(before authorizations, atLeast int) (float64, error) {
	count := a.count - before.count
	// The last one is counted after its answer.
	if count < float64(atLeast-1) {
		return 0, fmt.Errorf("kube-apiserver counted %.0f authorizations of %d requests", count, atLeast)
	}
	return (a.seconds - before.seconds) / count * 1e6, nil
}

// openCompiled opens a cluster with tenancy-controller, and without Tenants as yet.
func openCompiled(ctx context.Context, o options) (*environment, error) {
	return open(ctx, o.inOwnDir("compiled"), true, func(ctx context.Context, e *environment) error { return e.seedPlatform(ctx) })
}

// measureAuthorization measures what authorizations take in the cluster, when there are
// many Tenants in it, and in one without any that runs beside it.
func measureAuthorization(ctx context.Context, e *environment, r *report) (err error) {
	bare, err := open(ctx, e.options.inOwnDir("bare"), false, func(context.Context, *environment) error { return nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.close(err != nil)) }()
	if err := e.compileTenants(ctx, r); err != nil {
		return err
	}
	if err := e.compileAnew(ctx, r); err != nil {
		return err
	}
	contests, err := authorizationContests(ctx, e, bare)
	if err != nil {
		return err
	}
	turns := *e
	turns.options.Rounds *= authorizationRounds
	comparisons, err := turns.run(ctx, contests)
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, comparisons...)
	for _, c := range comparisons {
		for _, result := range c.Results {
			r.Figures = append(r.Figures, figure{
				Measurement: "AUTHZ", What: "an authorization, " + c.Of + ", " + result.Variant, Value: *result.AuthorizationMicros, Unit: "µs",
			})
		}
		what := fmt.Sprintf("AUTHZ, %s, %s: an authorization, over %s", e.compiledTenants(), c.Of, c.Baseline)
		r.Targets = append(r.Targets, atMost(what, authorizationLimit, "µs", *c.of(e.compiledTenants()).AuthorizationDifference))
	}
	return nil
}

// compiledTenants names the cluster with Tenants.
func (e *environment) compiledTenants() string {
	return fmt.Sprintf("%d Tenants", e.options.CompiledTenants)
}

// asked is the Tenant whose owner asks: in the middle, and with a namespace.
func (o options) asked() int { return o.CompiledTenants / 2 / unequal * unequal }

// home returns a namespace of that Tenant.
func (o options) home() seeded { return homeOf(o.asked()) }

func homeOf(tenant int) seeded { return seeded{name: tenantName(tenant) + "-prod", tenant: tenant} }

// guestNamespaces returns a namespace of each Tenant with a ProxySetting.
func (o options) guestNamespaces() []seeded {
	var namespaces []seeded
	for i := range o.CompiledTenants {
		if hasGuest(i) {
			namespaces = append(namespaces, homeOf(i))
		}
	}
	return namespaces
}

// compileTenants makes the Tenants and what belongs to them. It reports how long it took
// until all was compiled, and what has come of it.
func (e *environment) compileTenants(ctx context.Context, r *report) error {
	start := time.Now()
	tenants, err := e.createTenants(ctx, e.options.CompiledTenants)
	if err != nil {
		return err
	}
	created := time.Since(start)
	namespaces := e.options.guestNamespaces()
	if err := e.createNamespaces(ctx, tenants, namespaces); err != nil {
		return err
	}
	for _, s := range namespaces {
		if err := e.objects.Create(ctx, proxySetting(s.tenant, s.name)); err != nil {
			return fmt.Errorf("create proxy setting: %w", err)
		}
	}
	bindings, err := e.awaitCompiled(ctx)
	if err != nil {
		return err
	}
	compiled := time.Since(start)
	perTenant := float64(bindings) / float64(len(tenants))
	of := fmt.Sprintf("%s, %d nodes: ", e.compiledTenants(), e.options.Nodes)
	r.Figures = append(r.Figures,
		figure{Measurement: "AUTHZ", What: of + fmt.Sprintf("created, by %d at once", seedWorkers), Value: once(created.Seconds()), Unit: "s"},
		figure{Measurement: "AUTHZ", What: of + "created and compiled, with ProxySettings in a tenth", Value: once(compiled.Seconds()), Unit: "s"},
		figure{Measurement: "AUTHZ", What: of + "ClusterRoleBindings", Value: once(float64(bindings))},
	)
	what := fmt.Sprintf("AUTHZ, %s: ClusterRoleBindings of each", e.compiledTenants())
	r.Targets = append(r.Targets, atMost(what, bindingsLimit, "", once(perTenant)))
	return nil
}

// compileAnew takes away what was compiled while tenancy-controller does not run, and
// reports how long it takes from its start to do all of it again, and its memory.
func (e *environment) compileAnew(ctx context.Context, r *report) error {
	progress("AUTHZ: starting tenancy-controller with nothing compiled")
	if err := e.system.Controller.Stop(); err != nil {
		return fmt.Errorf("stop tenancy-controller: %w", err)
	}
	for _, kind := range []ctrlclient.Object{&rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRole{}} {
		if err := e.objects.DeleteAllOf(ctx, kind, ctrlclient.HasLabels{registry.TenantLabel}); err != nil {
			return fmt.Errorf("delete what was compiled: %w", err)
		}
	}
	start := time.Now()
	if err := e.system.Controller.Start(ctx); err != nil {
		return fmt.Errorf("start tenancy-controller: %w", err)
	}
	if _, err := e.awaitCompiled(ctx); err != nil {
		return err
	}
	elapsed := time.Since(start)
	of := fmt.Sprintf("%s, %d nodes: ", e.compiledTenants(), e.options.Nodes)
	r.Figures = append(r.Figures, figure{
		Measurement: "AUTHZ", What: of + "compiled from nothing, from the start of tenancy-controller", Value: once(elapsed.Seconds()), Unit: "s",
	})
	for _, m := range []struct{ field, when string }{{resident, "then"}, {mostResident, "at most"}} {
		mebibytes, err := memory(e.system.Controller.Process, m.field)
		if err != nil {
			return err
		}
		r.Figures = append(r.Figures, figure{
			Measurement: "AUTHZ", What: of + "resident of tenancy-controller, " + m.when, Value: once(mebibytes), Unit: "MiB",
		})
	}
	return nil
}

// awaitCompiled waits until there are all ClusterRoleBindings that the Tenants ask for,
// and returns how many there are.
func (e *environment) awaitCompiled(ctx context.Context) (int, error) {
	want := 0
	for i := range e.options.CompiledTenants {
		want += setsOf(i)
	}
	found := 0
	err := wait.PollUntilContextTimeout(ctx, compiledPoll, compiledWithin, true, func(ctx context.Context) (bool, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBindingList"))
		err := e.objects.List(ctx, list, ctrlclient.HasLabels{registry.TenantLabel}, &ctrlclient.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
		found = len(list.Items)
		return found >= want, err
	})
	if err != nil {
		return found, fmt.Errorf("await %d ClusterRoleBindings, there are %d: %w", want, found, err)
	}
	return found, nil
}

// asker is who asks for a ConfigMap, and the namespace in which that is allowed.
type asker struct {
	name, namespace string
	client          *client
}

// authorizationContests returns the same requests to both clusters. Each is answered
// from one RoleBinding in the namespace, or refused, when all ClusterRoleBindings have
// been looked at.
func authorizationContests(ctx context.Context, e, bare *environment) ([]contest, error) {
	home := e.options.home()
	if err := create(ctx, bare.admin, home.name); err != nil {
		return nil, err
	}
	if _, err := bare.admin.RbacV1().RoleBindings(home.name).Create(ctx, home.binding(), metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create role binding: %w", err)
	}
	there, err := e.askers(ctx, home)
	if err != nil {
		return nil, err
	}
	here, err := bare.askers(ctx, home)
	if err != nil {
		return nil, err
	}
	var contests []contest
	for i := range here {
		for _, of := range []struct {
			what, namespace string
			refused         bool
		}{
			{here[i].name + " is allowed", here[i].namespace, false},
			{here[i].name + " is refused", metav1.NamespaceSystem, true},
		} {
			contests = append(contests, contest{
				Measurement: "AUTHZ", Of: of.what, Clients: 1, Baseline: withoutTenants, requests: authorizationRequests,
				variants: []variant{
					{name: withoutTenants, system: bare.system, clients: []*client{here[i].client}, question: configMap(of.namespace, of.refused), metrics: bare.asAdmin[0]},
					{name: e.compiledTenants(), system: e.system, clients: []*client{there[i].client}, question: configMap(of.namespace, of.refused), metrics: e.asAdmin[0]},
				},
			})
		}
	}
	return contests, nil
}

const withoutTenants = "no Tenants"

// configMap returns the requests for the ConfigMap in a namespace.
func configMap(namespace string, refused bool) func(int) (question, []string) {
	q := question{target: "/api/v1/namespaces/" + namespace + "/configmaps/" + askedFor, accept: jsonAccept, refused: refused}
	want := []string{askedFor}
	if refused {
		want = nil
	}
	return func(int) (question, []string) { return q, want }
}

// askers returns the owner of a Tenant and a service account of nobody's, and makes
// what they ask for.
func (e *environment) askers(ctx context.Context, home seeded) ([]asker, error) {
	ownerConfig, err := e.system.ControlPlane.RESTConfig(ownerOf(home.tenant), tenantGroup, groupOf(home.tenant))
	if err != nil {
		return nil, err
	}
	robotConfig, err := e.robotConfig(ctx)
	if err != nil {
		return nil, err
	}
	askers := []asker{{name: "an owner", namespace: home.name}, {name: "a service account", namespace: plainNamespace}}
	for i, config := range []*rest.Config{ownerConfig, robotConfig} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: askedFor, Namespace: askers[i].namespace}}
		if err := e.objects.Create(ctx, object); err != nil {
			return nil, fmt.Errorf("create config map: %w", err)
		}
		if askers[i].client, err = newClient(config, nil); err != nil {
			return nil, err
		}
	}
	return askers, nil
}

// robotConfig makes a service account that may read its namespace, and returns a
// configuration with a token of it.
func (e *environment) robotConfig(ctx context.Context) (*rest.Config, error) {
	if err := create(ctx, e.admin, plainNamespace); err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: robot, Namespace: plainNamespace}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: robot, Namespace: plainNamespace},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: robot, Namespace: plainNamespace}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
	if err := errors.Join(e.objects.Create(ctx, account), e.objects.Create(ctx, binding)); err != nil {
		return nil, fmt.Errorf("create service account: %w", err)
	}
	token, err := e.admin.CoreV1().ServiceAccounts(plainNamespace).CreateToken(ctx, robot, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create token: %w", err)
	}
	config := rest.AnonymousClientConfig(e.adminConfig)
	config.BearerToken = token.Status.Token
	return config, nil
}
