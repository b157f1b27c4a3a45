// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/util/wait"
	clientmetrics "k8s.io/client-go/tools/metrics"
)

func TestTemplates(t *testing.T) {
	for given, want := range map[string]string{
		"/api/v1/namespaces":                       "/api/v1/namespaces",
		"/api/v1/namespaces/oil":                   "/api/v1/namespaces/{name}",
		"/api/v1/namespaces/oil/status":            "/api/v1/namespaces/{name}/{subresource}",
		"/api/v1/nodes/a/proxy/x/y":                "/api/v1/nodes/{name}/{subresource}",
		"/api/v1/watch/nodes":                      "/api/v1/nodes",
		"/api/v1/namespaces/oil/pods":              "/api/{version}/namespaces/{namespace}/{resource}",
		"/api/v1/namespaces/oil/pods/a/exec":       "/api/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}",
		"/apis/storage.k8s.io/v1/storageclasses/a": "/apis/storage.k8s.io/v1/storageclasses/{name}",
		"/apis/example.com/v1/things/a":            "/apis/{group}/{version}/{resource}/{name}",
		"/apis/capsule.clastix.io/v1beta2/tenants": "/apis/capsule.clastix.io/v1beta2/tenants",
		"/apis":                    "/apis",
		"/openapi/v3/apis/apps/v1": "/openapi",
		"/version":                 "/version",
		"/":                        "/",
		"/anything/else":           otherPath,
		"/api/v1/namespaces/" + strings.Repeat("a", 99): "/api/v1/namespaces/{name}",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, given, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := requestInfos.NewRequestInfo(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := newRouter().template(req, info); got != want {
			t.Errorf("%s: want %s, got %s", given, want, got)
		}
	}
}

// TestMetrics has a request that a view answers count once, with the client's status.
func TestMetrics(t *testing.T) {
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	_, _ = f.get(t, "/api/v1/namespaces")
	_, _ = f.get(t, "/api/v1/pods")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(f.proxy.Collectors()...)
	want := `# HELP capsule_proxy_requests_total Number of requests
# TYPE capsule_proxy_requests_total counter
capsule_proxy_requests_total{path="/api/v1/namespaces",status="200"} 1
capsule_proxy_requests_total{path="/api/{version}/{resource}",status="403"} 1
# HELP tenancy_proxy_open_streams Number of open watches, and of connections that became streams of another protocol.
# TYPE tenancy_proxy_open_streams gauge
tenancy_proxy_open_streams 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "capsule_proxy_requests_total", "tenancy_proxy_open_streams"); err != nil {
		t.Error(err)
	}
	if got, err := testutil.GatherAndCount(registry, "capsule_proxy_response_time_seconds", "tenancy_proxy_view_response_time_seconds"); err != nil || got != 3 {
		t.Errorf("want 3 histograms, got %d, %v", got, err)
	}
}

// counts holds that a request counts once, with a status, which may be some time after its
// connection has ended.
func (f *fixture) counts(t *testing.T, path, status string) {
	t.Helper()
	counted := f.proxy.metrics.requests.WithLabelValues(path, status)
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return testutil.ToFloat64(counted) == 1, nil
	}); err != nil {
		t.Errorf("counted %v times: %v", testutil.ToFloat64(counted), err)
	}
}

// results counts requests by the labels that client-go's metric has of them.
type results struct {
	// lock protects counts.
	lock   sync.Mutex
	counts map[string]int
}

// Increment implements clientmetrics.ResultMetric.
func (r *results) Increment(_ context.Context, code, method, _ string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.counts[code+" "+method]++
}

// TestMethodsOfMetric has clients invent methods, of which there is one label.
func TestMethodsOfMetric(t *testing.T) {
	got := &results{counts: map[string]int{}}
	before := clientmetrics.RequestResult
	clientmetrics.RequestResult = got
	t.Cleanup(func() { clientmetrics.RequestResult = before })
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "{}") })
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodTrace, "INVENTED", "INVENTED-TOO", "get"} {
		req, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+"/api/v1/pods", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := f.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if asked := f.upstream.asked(); len(asked) != 1 || asked[0].Method != method {
			t.Errorf("%s does not arrive as it is: %v", method, asked)
		}
	}
	want := map[string]int{"200 GET": 1, "200 OPTIONS": 1, "200 TRACE": 1, "200 other": 3}
	got.lock.Lock()
	defer got.lock.Unlock()
	if diff := cmp.Diff(want, got.counts); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
