// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// watchListQuery begins a watch as an informer does.
	watchListQuery = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	// eventWithin is how long an event is waited for.
	eventWithin = time.Minute
	// maxEvent is the size of the largest event that is read.
	maxEvent = 1 << 20
)

// event is what is read of an event: enough to know which one it is. A thousand
// readers that decoded all of it would be what is measured.
type event struct {
	kind watch.EventType
	name string
	// initialEnd says that it is the bookmark that ends the initial events.
	initialEnd bool
	at         time.Time
}

// parseEvent reads an event as servers of Kubernetes write it: the type comes
// first, and the first name is that in the metadata.
func parseEvent(line []byte) (event, error) {
	e := event{at: time.Now()}
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`))
	kind, rest, found := bytes.Cut(rest, []byte(`"`))
	e.kind = watch.EventType(kind)
	switch {
	case !ok || !found || e.kind == watch.Error:
		return e, fmt.Errorf("the watch sent %.500s", line)
	case e.kind == watch.Bookmark:
		e.initialEnd = bytes.Contains(rest, []byte(`"k8s.io/initial-events-end":"true"`))
		return e, nil
	}
	_, rest, _ = bytes.Cut(rest, []byte(`"name":"`))
	name, _, found := bytes.Cut(rest, []byte(`"`))
	if !found {
		return e, fmt.Errorf("no name in %.500s", line)
	}
	e.name = string(name)
	return e, nil
}

// newLines returns what reads a watch event by event.
func newLines(body io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	return lines
}

// next reads one event.
func next(lines *bufio.Scanner) (event, error) {
	if !lines.Scan() {
		return event{}, fmt.Errorf("the watch ended: %w", errors.Join(lines.Err(), io.EOF))
	}
	return parseEvent(lines.Bytes())
}

// stream is an open watch that a goroutine of its own reads.
type stream struct {
	user string
	// events are those after the initial ones, without bookmarks. It is closed when
	// the watch has ended, and err says why.
	events chan event
	err    error
}

// expect returns when the next event was read, which has to be this one.
func (s *stream) expect(ctx context.Context, kind watch.EventType, name string) (time.Time, error) {
	select {
	case e, open := <-s.events:
		switch {
		case !open:
			return e.at, fmt.Errorf("watch of %s: %w", s.user, s.err)
		case e.kind != kind || e.name != name:
			return e.at, fmt.Errorf("watch of %s: %s %s instead of %s %s", s.user, e.kind, e.name, kind, name)
		}
		return e.at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("watch of %s: await %s %s: %w", s.user, kind, name, ctx.Err())
	}
}

// await returns when the event was read, of whatever comes until then.
func (s *stream) await(ctx context.Context, kind watch.EventType, name string) (time.Time, error) {
	for {
		select {
		case e, open := <-s.events:
			switch {
			case !open:
				return e.at, fmt.Errorf("watch of %s: %w", s.user, s.err)
			case e.kind == kind && e.name == name:
				return e.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("watch of %s: await %s %s: %w", s.user, kind, name, ctx.Err())
		}
	}
}

// streams are open watches that end together.
type streams struct {
	open    []*stream
	cancel  context.CancelFunc
	readers sync.WaitGroup
}

// close ends the watches and returns when nobody reads any more.
func (s *streams) close() {
	s.cancel()
	s.readers.Wait()
}

// add opens a watch that is read, and returns when it has told the initial
// events, of which there have to be so many. The context is that of the watch.
func (s *streams) add(ctx context.Context, c *client, path string, number int, user string, initial int) error {
	body, err := c.open(ctx, question{target: path + "?" + watchListQuery, accept: jsonAccept})
	if err != nil {
		return fmt.Errorf("watch of %s: %w", user, err)
	}
	lines := newLines(body)
	read := 0
	for {
		e, err := next(lines)
		if err != nil {
			return errors.Join(fmt.Errorf("initial events of %s: %w", user, err), body.Close())
		}
		if e.initialEnd {
			break
		}
		read++
	}
	if read != initial {
		return errors.Join(fmt.Errorf("watch of %s: %d initial events instead of %d", user, read, initial), body.Close())
	}
	opened := &stream{user: user, events: make(chan event, 16)}
	s.open[number] = opened
	s.readers.Go(func() {
		defer close(opened.events)
		defer body.Close()
		for {
			e, err := next(lines)
			if err != nil {
				opened.err = err
				return
			}
			if e.kind == watch.Bookmark {
				continue
			}
			select {
			case opened.events <- e:
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}
