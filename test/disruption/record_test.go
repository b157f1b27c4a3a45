// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// record is what one client asked and was answered, byte for byte, in a file.
type record struct {
	path string

	lock sync.Mutex
	// lock protects what follows.
	file       *os.File
	events     map[watch.EventType]int
	violations []string
}

func newRecord(t *testing.T, dir, client string) *record {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	file, err := os.Create(filepath.Join(dir, client+".log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return &record{path: file.Name(), file: file, events: map[watch.EventType]int{}}
}

// Write adds what a client was answered.
func (r *record) Write(data []byte) (int, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.file.Write(data)
}

func (r *record) note(format string, args ...any) {
	fmt.Fprintf(r, "\n# "+now()+" "+format+"\n", args...) //nolint:errcheck // nobody is left to be told
}

func now() string { return time.Now().Format("15:04:05.000") }

// content returns all that was recorded.
func (r *record) content(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(r.path)
	require.NoError(t, err)
	return data
}

// count returns how many events of a type there were, and what was wrong with
// any event.
func (r *record) count(of watch.EventType) (n int, violations []string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.events[of], r.violations
}

// roundTripper records what passes.
type roundTripper struct {
	*record
	next http.RoundTripper
}

func (r *record) wrap(next http.RoundTripper) http.RoundTripper { return roundTripper{r, next} }

// RoundTrip implements http.RoundTripper.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	r.note("%s %s", request.Method, request.URL)
	response, err := r.next.RoundTrip(request)
	if err != nil {
		r.note("%v", err)
		return nil, err
	}
	r.note("%s", response.Status)
	body := &recordedBody{record: r.record, ReadCloser: response.Body}
	query := request.URL.Query()
	if query.Get("watch") != "" && response.StatusCode == http.StatusOK && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		body.stream = newStream(r.record, query)
	}
	response.Body = body
	return response, nil
}

// recordedBody is a body that is recorded as it is read.
type recordedBody struct {
	*record
	io.ReadCloser
	stream *stream
}

// Read implements io.Reader.
func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if _, err := b.record.Write(p[:n]); err != nil {
			return n, err
		}
		b.stream.take(p[:n])
	}
	if err != nil {
		b.note("end of body: %v", err)
	}
	return n, err
}

// Write is that of io.Writer for the record, which embeds it; a body has none.
func (b *recordedBody) Write([]byte) (int, error) { return 0, http.ErrNotSupported }

// stream holds one watch to the order of its events: what the client was told to
// be there comes and goes in turn.
type stream struct {
	record *record
	// fresh is whether the client held nothing when the watch began.
	fresh bool
	line  []byte
	// present is what the client was told last of a name.
	present map[string]bool
}

func newStream(r *record, query url.Values) *stream {
	revision := query.Get("resourceVersion")
	return &stream{
		record:  r,
		fresh:   revision == "" || revision == "0" || query.Get("sendInitialEvents") == "true",
		present: map[string]bool{},
	}
}

// take reads the events, of which there is one a line.
func (s *stream) take(data []byte) {
	if s == nil {
		return
	}
	s.line = append(s.line, data...)
	for {
		line, rest, found := bytes.Cut(s.line, []byte("\n"))
		if !found {
			return
		}
		s.line = rest
		var event struct {
			Type   watch.EventType
			Object metav1.PartialObjectMetadata
		}
		if err := json.Unmarshal(line, &event); err == nil {
			s.judge(event.Type, event.Object.Name)
		}
	}
}

func (s *stream) judge(event watch.EventType, name string) {
	s.record.lock.Lock()
	defer s.record.lock.Unlock()
	s.record.events[event]++
	present, known := s.present[name]
	var wrong string
	switch event {
	case watch.Added:
		if s.fresh && present {
			wrong = "it was there"
		}
		s.present[name] = true
	case watch.Modified:
		if known && !present || !known && s.fresh {
			wrong = "it was not there"
		}
		s.present[name] = true
	case watch.Deleted:
		if known && !present || !known && s.fresh {
			wrong = "it was not there"
		}
		s.present[name] = false
	case watch.Bookmark, watch.Error:
	}
	if wrong != "" {
		s.record.violations = append(s.record.violations, fmt.Sprintf("%s %s %s: %s", now(), event, name, wrong))
	}
}
