// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// counted is a body that counts what is read of it.
type counted struct {
	io.Reader
	read *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// TestContinue has clients keep their bodies back until the API server wants them.
func TestContinue(t *testing.T) {
	const body = "what is sent"
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/refused" {
			respond(w, http.StatusForbidden, forbidden)
			return
		}
		got, err := io.ReadAll(req.Body)
		if err != nil || string(got) != body {
			t.Errorf("got %q, %v", got, err)
		}
	})
	type outcome struct {
		Code, Continues int
		Sent            int64
	}
	for _, test := range []struct {
		path    string
		version int
		want    outcome
	}{
		{"/taken", 1, outcome{http.StatusOK, 1, int64(len(body))}},
		{"/refused", 1, outcome{http.StatusForbidden, 0, 0}},
		// net/http does not tell handlers of HTTP/2 that the client waits, so that the
		// body of what is refused is sent there.
		{"/taken", 2, outcome{http.StatusOK, 1, int64(len(body))}},
	} {
		t.Run(fmt.Sprintf("HTTP %d %s", test.version, test.path), func(t *testing.T) {
			var got outcome
			var sent atomic.Int64
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
					if code == http.StatusContinue {
						got.Continues++
					}
					return nil
				},
			})
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.server.URL+test.path, counted{strings.NewReader(body), &sent})
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = int64(len(body))
			req.Header.Set("Expect", "100-continue")
			resp, err := f.client(t, test.version).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got.Code, got.Sent = resp.StatusCode, sent.Load()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// echo answers with what it reads, while it reads it, and says in the end how much it was.
func echo(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Trailer", "Read")
	stream, buffer, read := http.NewResponseController(w), make([]byte, 1024), 0
	_ = stream.Flush()
	for {
		n, err := req.Body.Read(buffer)
		read += n
		_, _ = w.Write(buffer[:n])
		_ = stream.Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set("Read", strconv.Itoa(read))
}

func TestTrailer(t *testing.T) {
	f := newFixture(t, echo)
	for version := 1; version <= 2; version++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+"/", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := f.client(t, version).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != "hello" || resp.ProtoMajor != version {
			t.Errorf("got %q, %v, by %s", got, err, resp.Proto)
		}
		if diff := cmp.Diff(http.Header{"Read": {"5"}}, resp.Trailer); diff != "" {
			t.Errorf("HTTP %d: trailer (-want +got):\n%s", version, diff)
		}
	}
}

// TestBothWays has an answer begin and go on before its request has come to its end, as
// HTTP/2 allows.
func TestBothWays(t *testing.T) {
	f := newFixture(t, echo)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	body, writer := io.Pipe()
	defer context.AfterFunc(ctx, func() { _ = writer.CloseWithError(context.Cause(ctx)) })()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.server.URL+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.client(t, 2).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, want := range []string{"first", "again"} {
		if _, err := io.WriteString(writer, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	_ = writer.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}
