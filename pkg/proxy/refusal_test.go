// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestForbiddenByAnother has an answer with status 403 that is not the API server's refusal
// come back as it is, and no view be asked.
func TestForbiddenByAnother(t *testing.T) {
	const (
		list, one, within = "/api/v1/namespaces", "/api/v1/nodes/a", "/api/v1/namespaces/gas/secrets/a"
		ownStatus         = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"NotAcceptable","code":403}`
	)
	for name, test := range map[string]struct {
		path, mediaType, body string
		// hidden says that the length is not told before.
		hidden bool
	}{
		"behind a service":                   {"/api/v1/namespaces/gas/services/web/proxy/a", "application/json", forbidden, false},
		"behind a pod":                       {"/api/v1/namespaces/gas/pods/web:80/proxy", "application/json", forbidden, false},
		"behind a node":                      {"/api/v1/nodes/a/proxy/metrics", "application/json", forbidden, false},
		"a page, to a list":                  {list, "text/html", "<html>no</html>", false},
		"a page, to one":                     {one, "text/html", "<html>no</html>", false},
		"a page, to one within a namespace":  {within, "text/html", "<html>no</html>", false},
		"a long page":                        {within, "text/html", strings.Repeat("0123456789abcdef", maxStatus/16+1), false},
		"a long page, of a length not told":  {within, "text/html", strings.Repeat("0123456789abcdef", maxStatus/16+1), true},
		"something else in JSON":             {list, "application/json", `{"error":"no"}`, false},
		"no JSON":                            {one, "application/json", `no`, false},
		"much in JSON":                       {within, "application/json", `"` + strings.Repeat("0123456789abcdef", maxStatus/16+1) + `"`, false},
		"much in JSON, of a length not told": {within, "application/json", `"` + strings.Repeat("0123456789abcdef", maxStatus/16+1) + `"`, true},
		"another Status":                     {list, "application/json", ownStatus, false},
		"a Status, called protobuf":          {list, "application/vnd.kubernetes.protobuf", forbidden, false},
		"nothing":                            {list, "application/json", "", false},
		"a media type that is none":          {list, ";", forbidden, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.mediaType)
				if !test.hidden {
					w.Header().Set("Content-Length", strconv.Itoa(len(test.body)))
				}
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, test.body)
			})
			resp := f.open(t, test.path, "Authorization", "Bearer alice")
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			wantLength := int64(len(test.body))
			if test.hidden {
				wantLength = -1
			}
			if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Content-Type") != test.mediaType || resp.ContentLength != wantLength {
				t.Errorf("got %d, %v, want length %d", resp.StatusCode, resp.Header, wantLength)
			}
			if string(got) != test.body {
				t.Errorf("got %d bytes instead of %d, %.100q", len(got), len(test.body), got)
			}
			if diff := cmp.Diff([]string{test.path}, paths(f.upstream.asked())); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForbiddenInOtherForms has a refusal be one in whatever form the client asks for.
func TestForbiddenInOtherForms(t *testing.T) {
	status, _, err := decodeStatus([]byte(forbidden), "application/json")
	if err != nil {
		t.Fatal(err)
	}
	for _, mediaType := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"} {
		for _, encoding := range []string{"", "gzip"} {
			t.Run(mediaType+" "+encoding, func(t *testing.T) {
				info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
				body, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, statusVersion), status)
				if err != nil {
					t.Fatal(err)
				}
				if encoding == "gzip" {
					var compressed bytes.Buffer
					w := gzip.NewWriter(&compressed)
					_, _ = w.Write(body)
					_ = w.Close()
					body = compressed.Bytes()
				}
				views := http.StatusOK
				f := newFixture(t, func(w http.ResponseWriter, req *http.Request) {
					if strings.HasPrefix(req.URL.Path, viewPrefix) {
						respond(w, views, viewOfOne)
						return
					}
					w.Header().Set("Content-Type", mediaType)
					if encoding != "" {
						w.Header().Set("Content-Encoding", encoding)
					}
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write(body)
				})
				if resp, got := f.get(t, "/api/v1/namespaces", "Accept-Encoding", "gzip"); resp.StatusCode != http.StatusOK || strings.TrimSpace(got) != nativeOne {
					t.Errorf("got %d, %q", resp.StatusCode, got)
				}
				// Where there is no view, the refusal is as it came.
				views = http.StatusForbidden
				resp, got := f.get(t, "/api/v1/namespaces/a", "Accept-Encoding", "gzip")
				if resp.StatusCode != http.StatusForbidden || got != string(body) || resp.Header.Get("Content-Encoding") != encoding {
					t.Errorf("got %d, %q, %v", resp.StatusCode, got, resp.Header)
				}
			})
		}
	}
}

// TestPanicOnOtherStack has a panic be the caller's, whose server ends that request alone.
func TestPanicOnOtherStack(t *testing.T) {
	defer func() {
		if got := recover(); got != "broken" {
			t.Errorf("got %v", got)
		}
	}()
	onOtherStack(func() bool { panic("broken") })
	t.Error("it returns")
}
