// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/streaming/pkg/httpstream"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// metrics are those of a proxy. Their labels are templates of paths, of which there are
// as many as there are views and some more, and names of views.
type metrics struct {
	// requests and responseTime have the names, the help and the buckets by which
	// dashboards know them from capsule-proxy.
	requests     *prometheus.CounterVec
	responseTime *prometheus.HistogramVec
	viewTime     *prometheus.HistogramVec
	streams      prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "capsule_proxy_requests_total", Help: "Number of requests",
		}, []string{"path", "status"}),
		responseTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "capsule_proxy_response_time_seconds", Help: "Duration of HTTP requests.",
			Buckets: prometheus.DefBuckets,
		}, []string{"path"}),
		viewTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tenancy_proxy_view_response_time_seconds", Help: "Duration of requests but watches that a view answered, rewriting included.",
			Buckets: prometheus.DefBuckets,
		}, []string{"view"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tenancy_proxy_open_streams", Help: "Number of open watches, and of connections that became streams of another protocol.",
		}),
	}
}

// Collectors returns the metrics of the proxy, for a registry.
func (p *Proxy) Collectors() []prometheus.Collector {
	m := p.metrics
	return []prometheus.Collector{m.requests, m.responseTime, m.viewTime, m.streams}
}

// measure counts a request. What it returns writes as well as w does, flushed and hijacked
// included, and has to be told when the request is done.
func (p *Proxy) measure(w http.ResponseWriter, req *http.Request) (_ http.ResponseWriter, done func()) {
	info := requestInfoOf(req)
	path := p.router.template(req, info)
	stream := isStream(req, info)
	if stream {
		p.metrics.streams.Inc()
	}
	status := statusGone
	start := time.Now()
	// Those before 200 but the last one are not the answer's.
	return onStatus(w, func(code int) { status = code }), func() {
		if stream {
			p.metrics.streams.Dec()
		}
		p.metrics.requests.WithLabelValues(path, strconv.Itoa(status)).Inc()
		p.metrics.responseTime.WithLabelValues(path).Observe(time.Since(start).Seconds())
	}
}

// answeredByView notes how long an answer took that a view gave.
func (m *metrics) answeredByView(r *rewrite.Resource, start time.Time) {
	m.viewTime.WithLabelValues(r.View.Resource).Observe(time.Since(start).Seconds())
}

// statusGone is the status, for metrics alone, of what was not answered, for the client has
// gone. It is what others use for that, who call it "client closed request".
const statusGone = 499

// onStatus returns what writes as w does, and says which status.
func onStatus(w http.ResponseWriter, do func(code int)) http.ResponseWriter {
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				do(code)
				next(code)
			}
		},
		// Nobody writes the header of a connection that becomes a stream of another protocol.
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (net.Conn, *bufio.ReadWriter, error) {
				conn, stream, err := next()
				if err == nil {
					do(http.StatusSwitchingProtocols)
				}
				return conn, stream, err
			}
		},
	})
}

// template returns the path of a request without the names in it.
func (r *router) template(req *http.Request, info *apirequest.RequestInfo) string {
	if !info.IsResourceRequest {
		if first, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/"); plainPaths[first] {
			return "/" + first
		}
		return otherPath
	}
	var b strings.Builder
	_, known := r.resources[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
	switch {
	case known && info.APIGroup == "":
		b.WriteString("/api/" + info.APIVersion)
	case known:
		b.WriteString("/apis/" + info.APIGroup + "/" + info.APIVersion)
	case info.APIGroup == "":
		b.WriteString("/api/{version}")
	default:
		b.WriteString("/apis/{group}/{version}")
	}
	if info.Namespace != "" && info.Resource != "namespaces" {
		b.WriteString("/namespaces/{namespace}")
	}
	if known {
		b.WriteString("/" + info.Resource)
	} else {
		b.WriteString("/{resource}")
	}
	if len(info.Parts) > 1 {
		b.WriteString("/{name}")
	}
	if info.Subresource != "" {
		b.WriteString("/{subresource}")
	}
	return b.String()
}

// otherPath is the template of what has none.
const otherPath = "/{path}"

// plainPaths are the beginnings of paths that are no resources', as the API server
// has them.
var plainPaths = map[string]bool{
	"": true, "api": true, "apis": true, "version": true, "openapi": true, "healthz": true, "livez": true, "readyz": true, "metrics": true, ".well-known": true,
}

// isStream reports whether an answer has no end of its own.
func isStream(req *http.Request, info *apirequest.RequestInfo) bool {
	return httpstream.IsUpgradeRequest(req) || info.IsResourceRequest && info.Verb == verbWatch
}
