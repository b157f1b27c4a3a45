// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const views = "/apis/tenancy.capsule.io/v1alpha1"

// cluster is an API server, as one user sees it.
type cluster struct {
	// views are the objects, "name" or "name@tenant", by the view's resource.
	views map[string][]string
	// rules are those of the cluster, and within those of a namespace beside.
	rules  []authorizationv1.ResourceRule
	within map[string][]authorizationv1.ResourceRule
	// statuses are errors, by path.
	statuses map[string]int
	// incomplete is why rules are missing.
	incomplete string
	// allowed are answers, "verb namespace/resource/name", that the rules do not give.
	allowed []string

	// lock protects reviewed: the namespaces whose rules were asked for.
	lock     sync.Mutex
	reviewed []string
	// asked is how many questions were asked; lock protects it.
	asked int
}

// rule is a rule about resources with names, or all of them.
func rule(verbs, apiGroup, resource string, names ...string) authorizationv1.ResourceRule {
	return authorizationv1.ResourceRule{
		Verbs: strings.Split(verbs, ","), APIGroups: []string{apiGroup}, Resources: []string{resource}, ResourceNames: names,
	}
}

// viewer is what everybody may.
var viewer = rule("get,list,watch", "tenancy.capsule.io", "*")

// reader returns a reader of the cluster.
func (c *cluster) reader(tb testing.TB) *Reader {
	tb.Helper()
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	r, err := NewReader(&rest.Config{Host: server.URL, BearerToken: "alice", ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// ServeHTTP implements http.Handler.
func (c *cluster) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if code, ok := c.statuses[req.URL.Path]; ok {
		reason := map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 503: metav1.StatusReasonServiceUnavailable}[code]
		respond(w, code, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "refused: " + req.URL.Path,
		})
		return
	}
	switch path := req.URL.Path; path {
	case views:
		list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "tenancy.capsule.io/v1alpha1"}
		for name := range c.views {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, Verbs: metav1.Verbs{"get", "list", "watch"}})
		}
		respond(w, http.StatusOK, list)
	case "/apis/authentication.k8s.io/v1/selfsubjectreviews":
		respond(w, http.StatusCreated, authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview", APIVersion: "authentication.k8s.io/v1"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: []string{"capsule.clastix.io"}}},
		})
	case "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews":
		c.review(w, req)
	case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		c.answer(w, req)
	default:
		c.list(w, strings.TrimPrefix(path, views+"/"))
	}
}

func (c *cluster) review(w http.ResponseWriter, req *http.Request) {
	review := authorizationv1.SelfSubjectRulesReview{}
	if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
		respond(w, http.StatusBadRequest, metav1.Status{Message: err.Error()})
		return
	}
	c.lock.Lock()
	c.reviewed = append(c.reviewed, review.Spec.Namespace)
	c.lock.Unlock()
	review.TypeMeta = metav1.TypeMeta{Kind: "SelfSubjectRulesReview", APIVersion: "authorization.k8s.io/v1"}
	review.Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: slices.Concat(c.rules, c.within[review.Spec.Namespace]), NonResourceRules: []authorizationv1.NonResourceRule{},
		Incomplete: c.incomplete != "", EvaluationError: c.incomplete,
	}
	respond(w, http.StatusCreated, review)
}

func (c *cluster) answer(w http.ResponseWriter, req *http.Request) {
	review := authorizationv1.SelfSubjectAccessReview{}
	if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
		respond(w, http.StatusBadRequest, metav1.Status{Message: err.Error()})
		return
	}
	c.lock.Lock()
	c.asked++
	c.lock.Unlock()
	a := review.Spec.ResourceAttributes
	review.TypeMeta = metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
	review.Status.Allowed = slices.Contains(c.allowed, a.Verb+" "+a.Namespace+"/"+a.Resource+"/"+a.Name)
	respond(w, http.StatusCreated, review)
}

func (c *cluster) list(w http.ResponseWriter, resource string) {
	list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/v1"}}
	for _, object := range c.views[resource] {
		name, tenant, ok := strings.Cut(object, "@")
		item := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if ok {
			item.Labels = map[string]string{"capsule.clastix.io/tenant": tenant}
		}
		list.Items = append(list.Items, item)
	}
	respond(w, http.StatusOK, list)
}

func respond(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(object); err != nil {
		panic(fmt.Sprint("encode: ", err))
	}
}

// alice is the cluster as an owner of two tenants sees it.
func alice() *cluster {
	return &cluster{
		views: map[string][]string{
			"tenantnamespaces":        {"gas-1@gas", "oil-1@oil", "oil-2@oil", "shared"},
			"tenantnodes":             {"node-1@oil", "node-2"},
			"tenantpersistentvolumes": {"data-01@oil"},
			"tenantstorageclasses":    {"cephfs", "custom"},
			"mytenants":               {"gas", "oil"},
		},
		rules: []authorizationv1.ResourceRule{
			viewer,
			rule("update,patch", "storage.k8s.io", "storageclasses", "custom"),
			rule("get", "", "nodes", "node-1", "node-2"),
		},
		within: map[string][]authorizationv1.ResourceRule{
			"oil-1": {rule("delete", "", "namespaces"), rule("*", "*", "*", "elsewhere")},
			"oil-2": {rule("delete", "", "*")},
			"gas-1": {rule("update,patch,delete", "", "namespaces/status")},
			nowhere: nil,
		},
	}
}
