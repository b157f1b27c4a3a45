// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestClientsActAsServiceAccounts looks at what is sent.
func TestClientsActAsServiceAccounts(t *testing.T) {
	var got []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(configMapKind, meta.RESTScopeNamespace)
	c := newClients(&rest.Config{Host: server.URL}, server.Client().Transport, client.Options{Scheme: scheme, Mapper: mapper}, globalKind().extra)
	c.known = lru.New(2)
	first, err := c.as(account{"oil-a", "sa"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []account{{"oil-a", "sa"}, {"oil-b", "sa"}, {"oil-c", "sa"}, {"oil-d", "sa"}} {
		acting, err := c.as(a)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "whether the client of "+a.String()+" is the first", a.namespace == "oil-a", acting == first)
		if err := acting.Get(t.Context(), client.ObjectKey{Namespace: "x", Name: "x"}, &corev1.ConfigMap{}); err == nil {
			t.Error("want an error")
		}
		header := got[len(got)-1]
		compare(t, "user", []string{"system:serviceaccount:" + a.namespace + ":sa"}, header["Impersonate-User"])
		compare(t, "groups", nil, header["Impersonate-Group"])
		compare(t, "extra", []string{"GlobalTenantResource"}, header["Impersonate-Extra-Replication.tenancy.capsule.io"])
	}
	compare(t, "clients", 2, c.known.Len())
}

// TestClientsAreLimitedEachByItself has one service account use up its requests.
func TestClientsAreLimitedEachByItself(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(configMapKind, meta.RESTScopeNamespace)
	c := newClients(&rest.Config{Host: server.URL, QPS: 0.001, Burst: 1}, server.Client().Transport, client.Options{Scheme: scheme, Mapper: mapper}, globalKind().extra)
	ask := func(a account) error {
		acting, err := c.as(a)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return acting.Get(ctx, client.ObjectKey{Namespace: "x", Name: "x"}, &corev1.ConfigMap{})
	}
	for _, test := range []struct {
		account account
		want    bool
	}{
		{account{"oil-a", "sa"}, true}, {account{"oil-a", "sa"}, false}, {account{"oil-b", "sa"}, true},
	} {
		if err := ask(test.account); apierrors.IsNotFound(err) != test.want {
			t.Errorf("%s: want an answer: %v, got %v", test.account, test.want, err)
		}
	}
}

func TestNewAccount(t *testing.T) {
	for name, test := range map[string]struct {
		namespace, name string
		want            bool
	}{
		"one":                      {namespace: "oil-a", name: "sa", want: true},
		"a name with dots":         {namespace: "oil-a", name: "sa.x", want: true},
		"no namespace":             {name: "sa"},
		"another namespace's":      {namespace: "oil-a", name: "x:kube-system"},
		"a namespace with a colon": {namespace: "oil:kube-system", name: "sa"},
		"a header":                 {namespace: "oil-a", name: "sa\r\nImpersonate-Group: system:masters"},
		"no name":                  {namespace: "oil-a"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newAccount("field", test.namespace, test.name)
			if (err == nil) != test.want {
				t.Fatalf("got %v, %v", got, err)
			}
			if test.want {
				compare(t, "account", test.namespace+"/"+test.name, got.String())
			}
		})
	}
}
