// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package replication

import (
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
	c := &clients{
		config: &rest.Config{Host: server.URL}, base: server.Client().Transport, known: lru.New(2),
		options: client.Options{Scheme: scheme, Mapper: mapper},
	}
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
	}
	compare(t, "clients", 2, c.known.Len())
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
