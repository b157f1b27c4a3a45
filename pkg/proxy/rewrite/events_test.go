// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// framesOf returns the events, each for itself.
func framesOf(e *Events) (frames [][]byte, err error) {
	for {
		if err := e.await(); errors.Is(err, io.EOF) {
			return frames, nil
		} else if err != nil {
			return nil, err
		}
		var frame bytes.Buffer
		if err := e.next(&frame); err != nil {
			return nil, err
		}
		frames = append(frames, frame.Bytes())
	}
}

// TestEventsAreReadWhole has events come out however little room their reader has, and
// however little of them is there, and what follows a broken one stay away.
func TestEventsAreReadWhole(t *testing.T) {
	const event = `{"type":"ADDED","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"name":"a"}}}` + "\n"
	const want = `{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a"}}}` + "\n"
	got, err := io.ReadAll(iotest.OneByteReader(JSONEvents(namespaces, iotest.OneByteReader(strings.NewReader(event+event+`{"type":7}`+event)))))
	if err == nil {
		t.Error("want an error for what is no event")
	}
	if diff := cmp.Diff(want+want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEventsEndWhole has a watch that ends within an event end with an error, even if its end
// is seen with the last of it.
func TestEventsEndWhole(t *testing.T) {
	for _, given := range []string{"{", "\n{", `{"type":"ADDED"`} {
		if got, err := io.ReadAll(JSONEvents(namespaces, iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(given))))); err == nil {
			t.Errorf("%q: want an error, got %q", given, got)
		}
	}
}

// TestEventsDoNotWait has an event come out before the next one begins.
func TestEventsDoNotWait(t *testing.T) {
	reader, writer := io.Pipe()
	events := JSONEvents(namespaces, reader)
	for range 3 {
		go func() { _, _ = writer.Write([]byte(`{"type":"BOOKMARK","object":{}}` + "\n")) }()
		event := make([]byte, 100)
		n, err := events.Read(event)
		if want := `{"type":"BOOKMARK","object":{}}` + "\n"; err != nil || string(event[:n]) != want {
			t.Errorf("want %q, got %q, %v", want, event[:n], err)
		}
	}
}

// TestEventsWithoutTheirDecoder has all events come out, although the decoder that read them
// with the first one, which is longer, serves another watch when they are wanted.
func TestEventsWithoutTheirDecoder(t *testing.T) {
	const first, next = `{"type":"ADDED","object":{"data":"%s"}}` + "\n", `{"type":"MODIFIED","object":{"data":"%d"}}` + "\n"
	var given, got bytes.Buffer
	fmt.Fprintf(&given, first, strings.Repeat("x", 10_000))
	for i := range 100 {
		fmt.Fprintf(&given, next, i)
	}
	events := JSONEvents(namespaces, bytes.NewReader(given.Bytes()))
	for {
		err := events.await()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = events.next(&got)
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
		// The second collection empties a sync.Pool.
		runtime.GC()
		runtime.GC()
	}
	if diff := cmp.Diff(given.String(), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEventsOfManyWatches has watches take turns with what they share, while each has more
// events ahead.
func TestEventsOfManyWatches(t *testing.T) {
	const watches, rounds = 3, 100
	var all [watches]*Events
	var want, got [watches]strings.Builder
	for i := range all {
		for round := range rounds {
			fmt.Fprintf(&want[i], `{"type":"MODIFIED","object":{"data":"%d of watch %d"}}`+"\n", round, i)
		}
		all[i] = JSONEvents(namespaces, strings.NewReader(want[i].String()))
	}
	event := make([]byte, 100)
	for range rounds {
		for i, events := range all {
			n, err := events.Read(event)
			if err != nil {
				t.Fatalf("watch %d, after %d bytes: %v", i, got[i].Len(), err)
			}
			got[i].Write(event[:n])
		}
	}
	for i := range all {
		if diff := cmp.Diff(want[i].String(), got[i].String()); diff != "" {
			t.Errorf("watch %d (-want +got):\n%s", i, diff)
		}
	}
}
