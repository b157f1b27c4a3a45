// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	forbidden  = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces is forbidden","reason":"Forbidden","details":{"kind":"namespaces"},"code":403}`
	viewOfOne  = `{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"oil"}}]}`
	nativeOne  = `{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"oil"}}]}`
	viewHidden = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"tenantnamespaces.tenancy.capsule.io \"gas\" not found","reason":"NotFound","details":{"name":"gas","group":"tenancy.capsule.io","kind":"tenantnamespaces"},"code":404}`
	notFound   = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces \"gas\" not found","reason":"NotFound","details":{"name":"gas","kind":"namespaces"},"code":404}`
)

// refuses answers natively with 403, and views by a handler.
func refuses(views http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, viewPrefix) {
			views(w, req)
			return
		}
		respond(w, http.StatusForbidden, forbidden)
	}
}

func TestNativeAnswerIsUntouched(t *testing.T) {
	const body = `{ "kind" : "NamespaceList", "items": [] }   `
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Audit-Id", "a")
		respond(w, http.StatusOK, body)
	})
	resp, got := f.get(t, "/api/v1/namespaces?limit=500&labelSelector=a%3Db", "Authorization", "Bearer alice")
	if resp.StatusCode != http.StatusOK || got != body || resp.Header.Get("Audit-Id") != "a" {
		t.Errorf("got %d, %q, %v", resp.StatusCode, got, resp.Header)
	}
	if diff := cmp.Diff([]string{"/api/v1/namespaces?limit=500&labelSelector=a%3Db"}, paths(f.upstream.asked())); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestRefusedListIsTheView(t *testing.T) {
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne+"\n") }))
	const path, view = "/api/v1/namespaces?limit=5", viewPrefix + "tenantnamespaces?limit=5"
	for _, step := range []struct {
		what  string
		later time.Duration
		token string
		want  []string
	}{
		{"first", 0, "alice", []string{path, view}},
		{"soon", time.Second, "alice", []string{view}},
		{"somebody else", 0, "bob", []string{path, view}},
		{"later", deniedFor, "alice", []string{path, view}},
	} {
		f.clock.Step(step.later)
		resp, got := f.get(t, path, "Authorization", "Bearer "+step.token, "Impersonate-User", "carol")
		if resp.StatusCode != http.StatusOK || got != nativeOne+"\n" {
			t.Errorf("%s: got %d, %q", step.what, resp.StatusCode, got)
		}
		asked := f.upstream.asked()
		if diff := cmp.Diff(step.want, paths(asked)); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s", step.what, diff)
		}
		for _, req := range asked {
			if req.Header.Get("Authorization") != "Bearer "+step.token || req.Header.Get("Impersonate-User") != "carol" {
				t.Errorf("%s: asked with %v", step.what, req.Header)
			}
		}
	}
}

func TestViewErrors(t *testing.T) {
	for name, test := range map[string]struct {
		path, contentType string
		code              int
		body              string
		wantCode          int
		want              string
	}{
		"hidden":        {"/api/v1/namespaces/gas", "application/json", 404, viewHidden, 404, notFound + "\n"},
		"no view":       {"/api/v1/namespaces/gas", "text/plain", 404, "404 page not found\n", 403, forbidden},
		"not for you":   {"/api/v1/namespaces", "application/json", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":403}`, 403, forbidden},
		"gone":          {"/api/v1/namespaces", "application/json", 410, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Expired","code":410}`, 410, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Expired","code":410}` + "\n"},
		"not available": {"/api/v1/namespaces", "text/plain", 503, "service unavailable\n", 503, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the API server does not answer: try again later","reason":"ServiceUnavailable","code":503}` + "\n"},
		"nonsense":      {"/api/v1/namespaces", "application/json", 200, `[`, 503, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the API server does not answer: try again later","reason":"ServiceUnavailable","code":503}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.WriteHeader(test.code)
				_, _ = io.WriteString(w, test.body)
			}))
			resp, got := f.get(t, test.path, "Authorization", "Bearer alice")
			if resp.StatusCode != test.wantCode {
				t.Errorf("want %d, got %d", test.wantCode, resp.StatusCode)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatGoesUpstream sends what somebody may try, and looks at what arrives.
func TestWhatGoesUpstream(t *testing.T) {
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	for name, test := range map[string]struct{ given, want []string }{
		"no credential":               {nil, nil},
		"remote headers":              {[]string{"X-Remote-User", "admin", "x-remote-group", "system:masters", "X-Remote-Extra-A", "b"}, nil},
		"named in Connection":         {[]string{"Authorization", "Bearer alice", "X-Something", "x", "Connection", "X-Something, close"}, []string{"Authorization: Bearer alice"}},
		"impersonation is upstream's": {[]string{"Authorization", "Bearer alice", "Impersonate-User", "bob"}, []string{"Authorization: Bearer alice", "Impersonate-User: bob"}},
		"not a bearer":                {[]string{"Authorization", "Basic eDp5"}, []string{"Authorization: Basic eDp5"}},
	} {
		t.Run(name, func(t *testing.T) {
			// Of HTTP/1.1, which has a Connection header.
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/api/v1/namespaces", nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(test.given); i += 2 {
				req.Header.Add(test.given[i], test.given[i+1])
			}
			transport := f.transport(t, 1)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			asked := f.upstream.asked()
			if len(asked) == 0 {
				t.Fatal("nothing arrived")
			}
			for _, req := range asked {
				var got []string
				for _, name := range []string{"Authorization", "Impersonate-User", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-A", "X-Something", "Connection"} {
					if value := req.Header.Get(name); value != "" {
						got = append(got, name+": "+value)
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", req.URL.Path, diff)
				}
			}
			f.clock.Step(deniedFor)
		})
	}
}

// TestWatch has events come through one by one, and the view's end be noticed.
func TestWatch(t *testing.T) {
	next, ended := make(chan int), make(chan struct{})
	f := newFixture(t, refuses(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		flusher := http.NewResponseController(w)
		_ = flusher.Flush()
		for {
			select {
			case <-req.Context().Done():
				close(ended)
				return
			case i := <-next:
				_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"oil-%d"}}}`+"\n", i)
				_ = flusher.Flush()
			}
		}
	}))
	resp := f.open(t, "/api/v1/watch/namespaces?resourceVersion=7", "Authorization", "Bearer alice")
	events := bufio.NewReader(resp.Body)
	for i := range 3 {
		next <- i
		got, err := events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"oil-%d"}}}`+"\n", i)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the client has gone, and the view's watch has not")
	}
	if diff := cmp.Diff([]string{"/api/v1/watch/namespaces?resourceVersion=7", viewPrefix + "tenantnamespaces?resourceVersion=7&watch=true"}, paths(f.upstream.asked())); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestCompression(t *testing.T) {
	var large strings.Builder
	large.WriteString(`{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{},"items":[`)
	for i := range 5000 {
		fmt.Fprintf(&large, `{"metadata":{"name":"oil-%d"}},`, i)
	}
	large.WriteString(`{"metadata":{"name":"z"}}]}`)
	given := large.String()
	want := strings.NewReplacer("TenantNamespaceList", "NamespaceList", "tenancy.capsule.io/v1alpha1", "v1").Replace(given)
	f := newFixture(t, refuses(func(w http.ResponseWriter, req *http.Request) {
		if encoding := req.Header.Get("Accept-Encoding"); encoding != "identity" {
			t.Errorf("the view is asked for %q", encoding)
		}
		respond(w, http.StatusOK, given)
	}))
	for name, test := range map[string]struct {
		header []string
		want   string
	}{
		"taken":     {[]string{"Accept-Encoding", "deflate, gzip;q=1.0"}, "gzip"},
		"not taken": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp := f.open(t, "/api/v1/namespaces", append(test.header, "Authorization", "Bearer alice")...)
			defer resp.Body.Close()
			if got := resp.Header.Get("Content-Encoding"); got != test.want {
				t.Fatalf("want encoding %q, got %q", test.want, got)
			}
			var body io.Reader = resp.Body
			if test.want == "gzip" {
				var err error
				if body, err = gzip.NewReader(body); err != nil {
					t.Fatal(err)
				}
			}
			got, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("got %d bytes instead of %d", len(got), len(want))
			}
		})
	}
}

func TestUpstreamGone(t *testing.T) {
	f := newFixture(t, func(http.ResponseWriter, *http.Request) {})
	f.upstream.Close()
	for accept, want := range map[string]string{
		"application/json":                    `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the API server does not answer: try again later","reason":"ServiceUnavailable","code":503}` + "\n",
		"application/vnd.kubernetes.protobuf": "",
	} {
		resp, got := f.get(t, "/api/v1/pods", "Accept", accept)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Content-Type") != accept {
			t.Errorf("%s: got %d, %v", accept, resp.StatusCode, resp.Header)
		}
		if want != "" && got != want {
			t.Errorf("%s: got %q", accept, got)
		}
		status, _, err := decodeStatus([]byte(got), accept)
		if err != nil || status.Reason != metav1.StatusReasonServiceUnavailable {
			t.Errorf("%s: got %v, %v", accept, status, err)
		}
	}
}

// TestYAML has fields come in the order of their names, as the API server sends them.
func TestYAML(t *testing.T) {
	for name, test := range map[string]struct {
		view     string
		wantCode int
		want     string
	}{
		"list": {
			"apiVersion: tenancy.capsule.io/v1alpha1\nitems:\n- metadata:\n    name: oil\nkind: TenantNamespaceList\nmetadata:\n  resourceVersion: \"7\"\n", 200,
			"apiVersion: v1\nitems:\n- metadata:\n    name: oil\nkind: NamespaceList\nmetadata:\n  resourceVersion: \"7\"\n",
		},
		"table": {
			"apiVersion: meta.k8s.io/v1\ncolumnDefinitions:\n- name: Name\n- name: Tenant\nkind: Table\nmetadata: {}\nrows:\n- cells:\n  - a\n  - oil\n", 200,
			"apiVersion: meta.k8s.io/v1\ncolumnDefinitions:\n- name: Name\nkind: Table\nmetadata: {}\nrows:\n- cells:\n  - a\n",
		},
		"ends of lines": {
			"apiVersion: tenancy.capsule.io/v1alpha1\nkind: TenantNamespace\nmetadata:\n  name: \"a \\u2028 \\u2029<&>\"\n", 200,
			"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: \"a \\L \\P<&>\"\n",
		},
		"no object": {"- a\n", 503, ""},
		"no YAML":   {"{", 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/yaml")
				_, _ = io.WriteString(w, test.view)
			}))
			resp, got := f.get(t, "/api/v1/namespaces", "Authorization", "Bearer alice", "Accept", "application/yaml")
			if resp.StatusCode != test.wantCode {
				t.Fatalf("want %d, got %d, %s", test.wantCode, resp.StatusCode, got)
			}
			if diff := cmp.Diff(test.want, got); test.wantCode == http.StatusOK && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLongYAML has a client that asks for more YAML than is rewritten be told what to ask for.
func TestLongYAML(t *testing.T) {
	const want = "apiVersion: v1\ncode: 406\nkind: Status\nmessage: 'the answer is too long for YAML: ask for application/json'\n" +
		"metadata: {}\nreason: NotAcceptable\nstatus: Failure\n"
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = io.WriteString(w, "apiVersion: tenancy.capsule.io/v1alpha1\nkind: TenantNamespaceList\n")
		_, _ = io.WriteString(w, strings.Repeat("#", maxYAML))
	}))
	for _, path := range []string{"/api/v1/namespaces", "/api/v1/namespaces/gas"} {
		resp, got := f.get(t, path, "Authorization", "Bearer alice", "Accept", "application/yaml")
		if resp.StatusCode != http.StatusNotAcceptable || resp.Header.Get("Content-Type") != "application/yaml" {
			t.Errorf("got %d, %v", resp.StatusCode, resp.Header)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestYAMLAtATime has who has gone not wait for the YAML of others to be rewritten.
func TestYAMLAtATime(t *testing.T) {
	rewriting <- struct{}{}
	defer func() { <-rewriting }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got strings.Builder
	if err := rewriteYAML(ctx, Resources()[0], &got, strings.NewReader("kind: TenantNamespace\n")); !errors.Is(err, context.Canceled) || got.Len() > 0 {
		t.Errorf("got %q, %v", got.String(), err)
	}
}
