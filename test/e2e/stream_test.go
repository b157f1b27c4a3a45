// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// streaming is how long a watch may take to say what it has to.
const streaming = time.Minute

// stream is an open watch.
type stream struct {
	response *http.Response
	decoder  *json.Decoder
	end      context.CancelFunc
}

// frame is an event of a watch.
type frame struct {
	Type   watch.EventType `json:"type"`
	Object map[string]any  `json:"object"`
}

// openStream opens a watch as the user of the config, which ends with the test.
func openStream(t *testing.T, config *rest.Config, target, accept string) *stream {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), streaming)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+target, nil)
	require.NoError(t, err)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	response, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &stream{response: response, decoder: json.NewDecoder(response.Body), end: cancel}
}

// next returns the next event, false if the watch has ended.
func (s *stream) next(t *testing.T) (frame, bool) {
	t.Helper()
	var next frame
	err := s.decoder.Decode(&next)
	if errors.Is(err, io.EOF) {
		return frame{}, false
	}
	require.NoError(t, err)
	return next, true
}

// must returns the next event, which has to come.
func (s *stream) must(t *testing.T, eventType watch.EventType) frame {
	t.Helper()
	next, ok := s.next(t)
	require.True(t, ok, "the watch has ended, %s was to come", eventType)
	require.Equal(t, eventType, next.Type, "%v", next.Object)
	return next
}

// until returns the events up to the first one of which stop says so.
func (s *stream) until(t *testing.T, stop func(frame) bool) []frame {
	t.Helper()
	var frames []frame
	for {
		next, ok := s.next(t)
		require.True(t, ok, "the watch has ended after %v", frames)
		if frames = append(frames, next); stop(next) {
			return frames
		}
	}
}

// metadata returns that of the object, or of the one in a table's row.
func (f frame) metadata() metav1.PartialObjectMetadata {
	object := f.Object
	if rows, ok := object["rows"].([]any); ok && len(rows) == 1 {
		object, _ = rows[0].(map[string]any)["object"].(map[string]any)
	}
	var metadata metav1.PartialObjectMetadata
	if data, err := json.Marshal(object); err == nil {
		_ = json.Unmarshal(data, &metadata)
	}
	return metadata
}

func (f frame) revision(t *testing.T) uint64 {
	t.Helper()
	revision, err := strconv.ParseUint(f.metadata().ResourceVersion, 10, 64)
	require.NoError(t, err, "%v", f)
	return revision
}

func (f frame) summary() string {
	metadata := f.metadata()
	return fmt.Sprintf("%s %s %s", f.Type, metadata.Name, metadata.ResourceVersion)
}

func isNamed(name string) func(frame) bool {
	return func(f frame) bool { return f.metadata().Name == name }
}

// asNativeFrames makes of events what the native resource would send: the revision
// of bookmarks, which is each server's own, and ages, apart. The API server repeats
// the columns of a table where it reuses what it encoded for another watch.
func asNativeFrames(frames []frame) []frame {
	for i, f := range frames {
		normalize(f.Object)
		if _, ok := f.Object["columnDefinitions"]; ok && i > 0 {
			f.Object["columnDefinitions"] = nil
		}
		object := f.Object
		rows, _ := object["rows"].([]any)
		for _, r := range rows {
			row := r.(map[string]any)
			if cells := row["cells"].([]any); len(cells) > 2 {
				row["cells"] = cells[:2] // name and status
			}
			object, _ = row["object"].(map[string]any)
		}
		if metadata, ok := object["metadata"].(map[string]any); ok && f.Type == watch.Bookmark {
			delete(metadata, "resourceVersion")
		}
	}
	return frames
}

// listRevision returns the revision of a list of the view, to watch from. The
// native resource knows it, too.
func listRevision(t *testing.T, config *rest.Config) string {
	t.Helper()
	got := ask(t, config, http.MethodGet, viewPath+query("limit", "1"), partialsList, "")
	require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
	var list metav1.PartialObjectMetadataList
	require.NoError(t, json.Unmarshal(got.Body, &list))
	return list.ResourceVersion
}
