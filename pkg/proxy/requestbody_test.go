// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEarlyRefusal holds that the answer to a request that the API server does not read
// to its end does end.
func TestEarlyRefusal(t *testing.T) {
	const want = "refused, whatever the body says"
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, want)
	})
	for version := 1; version <= 2; version++ {
		for _, length := range []int64{-1, 1000} {
			t.Run(fmt.Sprintf("HTTP %d, length %d", version, length), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				// The client has begun to send, and sends no more.
				body, sender := io.Pipe()
				defer sender.Close() //nolint:errcheck // never fails
				go func() { _, _ = sender.Write([]byte("{")) }()
				req, err := http.NewRequestWithContext(ctx, http.MethodDelete, f.server.URL+"/api/v1/nodes/gold", body)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = length
				req.Header.Set("Authorization", "Bearer alice")
				resp, err := f.client(t, version).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.ProtoMajor != version {
					t.Fatalf("asked by %s", resp.Proto)
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != want {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	}
}

// TestAnswerToWhoSends has a client that goes on sending what nobody reads have its answer.
func TestAnswerToWhoSends(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusForbidden, forbidden) })
	for range 20 {
		body := io.LimitReader(strings.NewReader(strings.Repeat("x", 8<<20)), 8<<20)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+"/x", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer alice")
		resp, err := f.client(t, 1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != forbidden {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// dial returns a connection to the proxy, by HTTP/1.
func (f *fixture) dial(tb testing.TB) *tls.Conn {
	tb.Helper()
	dialer := &tls.Dialer{Config: f.transport(tb, 1).TLSClientConfig}
	conn, err := dialer.DialContext(tb.Context(), "tcp", f.server.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		tb.Fatal(err)
	}
	return conn.(*tls.Conn) //nolint:forcetypeassert // it is one
}

// TestWhatFollowsABrokenBody holds that what comes after a body that is not read, or cannot
// be, is not taken for a request: something in front of the proxy may have understood the
// body, and have it be of one with what follows.
func TestWhatFollowsABrokenBody(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer bob\r\n\r\n"
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/early" {
			respond(w, http.StatusForbidden, forbidden)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		respond(w, http.StatusOK, "{}")
	})
	f.proxy.questionTimeout = time.Millisecond
	const chunked, long = "Transfer-Encoding: chunked\r\n\r\n", "Content-Length: 1000\r\n\r\n"
	for name, test := range map[string]struct {
		path, header, body string
		want               int
	}{
		"no chunk":                  {"/x", "Authorization: Bearer alice\r\n" + chunked, "2\r\n{}\r\nzz\r\n", 400},
		"no trailer":                {"/x", "Authorization: Bearer alice\r\n" + chunked, "2\r\n{}\r\n0\r\nno trailer\r\n\r\n", 400},
		"no chunk of a review":      {accessReviews, "Authorization: Bearer alice\r\n" + chunked, "2\r\n{}\r\nzz\r\n", 400},
		"review that is not sent":   {accessReviews, "Authorization: Bearer alice\r\n" + long, "{", 400},
		"no chunk of a list":        {"/api/v1/namespaces", "Authorization: Bearer alice\r\n" + chunked, "2\r\n{}\r\nzz\r\n", 200},
		"no chunk of what is early": {"/early", "Authorization: Bearer alice\r\n" + chunked, "2\r\n{}\r\nzz\r\n", 0},
		"no chunk of nobody":        {"/x", "Authorization: Basic eDp5\r\nConnection: Authorization\r\n" + chunked, "zz\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			method := http.MethodPost
			if test.want == http.StatusOK {
				method = http.MethodGet
			}
			conn := f.dial(t)
			if _, err := io.WriteString(conn, method+" "+test.path+" HTTP/1.1\r\nHost: proxy\r\n"+test.header+test.body); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			// What is early is refused by the API server, or here for its body.
			if test.want != 0 && resp.StatusCode != test.want {
				t.Errorf("want %d, got %d", test.want, resp.StatusCode)
			}
			// It fails where the connection is closed already.
			_, _ = io.WriteString(conn, smuggled)
			if resp, err := http.ReadResponse(reader, nil); err == nil {
				_ = resp.Body.Close()
				t.Errorf("got %d for what follows", resp.StatusCode)
			}
			for _, req := range f.upstream.asked() {
				if req.URL.Path == "/smuggled" {
					t.Error("the API server is asked for what follows")
				}
			}
		})
	}
}

// TestNextRequest has a connection serve another request after one whose body was read.
func TestNextRequest(t *testing.T) {
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		respond(w, http.StatusOK, "{}")
	})
	conn := f.dial(t)
	reader := bufio.NewReader(conn)
	for _, body := range []string{"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "Content-Length: 2\r\n\r\n{}"} {
		for range 2 {
			if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer alice\r\n"+body); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Close {
				t.Errorf("got %d, closed: %t", resp.StatusCode, resp.Close)
			}
		}
	}
}

// TestHalfClosed has a client that says that it sends no more requests be told nothing, and
// not be given an empty answer with status 200, where its request did not get one.
func TestHalfClosed(t *testing.T) {
	asked := make(chan struct{})
	f := newFixture(t, func(_ http.ResponseWriter, req *http.Request) {
		close(asked)
		<-req.Context().Done()
	})
	conn := f.dial(t)
	if _, err := io.WriteString(conn, "DELETE /api/v1/nodes/gold HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer alice\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	f.counts(t, "/api/v1/nodes/{name}", "499")
}

// TestBodyOfAGet has a request with a body be answered by the view, though it cannot be sent
// twice.
func TestBodyOfAGet(t *testing.T) {
	f := newFixture(t, refuses(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, viewOfOne) }))
	for version := 1; version <= 2; version++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/api/v1/namespaces", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", fmt.Sprintf("Bearer alice-%d", version))
		resp, err := f.client(t, version).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("HTTP %d: got %d", version, resp.StatusCode)
		}
		want := []string{"/api/v1/namespaces", viewPrefix + "tenantnamespaces"}
		if diff := cmp.Diff(want, paths(f.upstream.asked())); diff != "" {
			t.Errorf("HTTP %d: asked (-want +got):\n%s", version, diff)
		}
	}
}
