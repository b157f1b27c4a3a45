// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package localproxy

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// upstream is an API server that refuses to list namespaces, and notes what it is asked.
type upstream struct {
	*httptest.Server

	// lock protects asked.
	lock  sync.Mutex
	asked []string
}

func newUpstream(tb testing.TB) *upstream {
	tb.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		u.lock.Lock()
		u.asked = append(u.asked, req.Header.Get("Authorization")+" "+req.URL.RequestURI())
		u.lock.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch req.URL.Path {
		case "/api/v1/namespaces":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
		case "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces":
			_, _ = io.WriteString(w, `{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","items":[]}`)
		default:
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	tb.Cleanup(u.Close)
	return u
}

func (u *upstream) config() *rest.Config { return &rest.Config{Host: u.URL, BearerToken: "alice"} }

func (u *upstream) since() []string {
	u.lock.Lock()
	defer u.lock.Unlock()
	asked := u.asked
	u.asked = nil
	return asked
}

func TestHandler(t *testing.T) {
	u := newUpstream(t)
	view := "Bearer alice /apis/tenancy.capsule.io/v1alpha1/tenantnamespaces"
	for name, test := range map[string]struct {
		prefix, path string
		wantCode     int
		want         []string
	}{
		"view":             {"/", "/api/v1/namespaces", 200, []string{"Bearer alice /api/v1/namespaces", view}},
		"anything else":    {"/", "/version?a=b", 200, []string{"Bearer alice /version?a=b"}},
		"exec":             {"/", "/api/v1/namespaces/a/pods/b/exec", 403, nil},
		"not clean":        {"/", "/api/v1/namespaces/a/pods/b/../b/exec", 307, nil},
		"prefix":           {"/k8s", "/k8s/api/v1/namespaces", 200, []string{"Bearer alice /api/v1/namespaces", view}},
		"slash at the end": {"/k8s/", "/k8s/api/v1/nodes", 200, []string{"Bearer alice /api/v1/nodes"}},
		"exec by prefix":   {"/k8s/", "/k8s/api/v1/namespaces/a/pods/b/exec", 403, nil},
		"outside":          {"/k8s/", "/api/v1/nodes", 404, nil},
		"part of the API":  {"/api/", "/api/v1/nodes", 200, []string{"Bearer alice /api/v1/nodes"}},
		"other part":       {"/api/", "/version", 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			handler, err := NewHandler(Config{Upstream: u.config(), Filter: defaults(t), APIPrefix: test.prefix})
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path, nil)
			req.Host = "localhost:8001"
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			if w.Code != test.wantCode {
				t.Errorf("want %d, got %d: %s", test.wantCode, w.Code, w.Body)
			}
			if diff := cmp.Diff(test.want, u.since()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrefixThatIsNone(t *testing.T) {
	for _, prefix := range []string{"", "k8s", "/{a}", "/a b"} {
		if _, err := NewHandler(Config{Upstream: &rest.Config{Host: "localhost"}, APIPrefix: prefix}); err == nil {
			t.Errorf("%q: want an error", prefix)
		}
	}
}

// TestServe serves at a Unix socket that nobody else can open, and ends with a request
// that has no end.
func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if unix, ok := stale.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	_ = stale.Close()
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := ListenUnix(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode() & fs.ModePerm; got&0o077 != 0 && runtime.GOOS != "windows" {
		t.Errorf("mode %v", got)
	}
	if !IsLoopback(listener) {
		t.Error("a socket is not reached by others")
	}
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}))
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is still there")
	}
}

func TestListenUnixLeavesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if listener, err := ListenUnix(t.Context(), path); err == nil {
		_ = listener.Close()
		t.Error("want an error")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "mine" { //nolint:gosec // it is the test's own
		t.Errorf("got %q, %v", data, err)
	}
}

func TestListen(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": true, "0.0.0.0": false, "[::1]": true, "::1": true} {
		listener, err := Listen(t.Context(), address, 0)
		if err != nil {
			if strings.Contains(address, ":") {
				continue // a machine without IPv6
			}
			t.Fatal(err)
		}
		if got := IsLoopback(listener); got != want {
			t.Errorf("%s is a loopback address: want %t, got %t", address, want, got)
		}
		_ = listener.Close()
	}
}
