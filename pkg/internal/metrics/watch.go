// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// EventCause says why a watch got an event.
type EventCause string

// EndCause says why a watch ended.
type EndCause string

// ResumeResult says what became of a client that came with a resourceVersion.
type ResumeResult string

// The values of the labels cause and result.
const (
	CausedByObject  EventCause = "object"
	CausedByAccess  EventCause = "access"
	CausedByInitial EventCause = "initial"
	// CausedByTime is the cause of bookmarks.
	CausedByTime EventCause = "time"

	EndedByClient   EndCause = "client"
	EndedByDeadline EndCause = "deadline"
	// EndedBySlowness: the client did not take its events.
	EndedBySlowness EndCause = "slowness"
	// EndedByStaleness: the view could not say any more what holds.
	EndedByStaleness EndCause = "staleness"
	// EndedByReset: the API server went back in time.
	EndedByReset EndCause = "reset"

	ResumedAccepted ResumeResult = "accepted"
	ResumedExpired  ResumeResult = "expired"
	ResumedTooLarge ResumeResult = "too_large"
)

var (
	watchEvents = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "watch_events_total",
		Help:           "Events that watches got, by view, type and cause: a change of the object or of access to it, the start of the watch, or time.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"resource", "type", "cause"})

	watchResumes = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "watch_resumes_total",
		Help:           "Watches that began at a resourceVersion, by view and result.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"resource", "result"})

	watchesEnded = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      subsystem,
		Name:           "watches_ended_total",
		Help:           "Watches that ended, by view and cause; client is also a server that stops.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"resource", "cause"})

	watchers = metrics.NewDesc(
		subsystem+"_watches",
		"Number of open watches of a view.",
		[]string{"resource"}, nil, metrics.ALPHA, "")

	onceWatch sync.Once
)

// Watch counts what happens to the watches of one view. Its methods may be called
// concurrently.
type Watch struct {
	resource string
	events   map[watch.EventType]map[EventCause]metrics.CounterMetric
}

// ForWatches returns the counters of a view.
func ForWatches(resource string) *Watch {
	// A counter of what is not registered counts nothing.
	onceWatch.Do(func() { legacyregistry.MustRegister(watchEvents, watchResumes, watchesEnded) })
	w := &Watch{resource: resource, events: map[watch.EventType]map[EventCause]metrics.CounterMetric{}}
	for _, eventType := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted, watch.Bookmark} {
		w.events[eventType] = map[EventCause]metrics.CounterMetric{}
		for _, cause := range []EventCause{CausedByObject, CausedByAccess, CausedByInitial, CausedByTime} {
			if (eventType == watch.Bookmark) == (cause == CausedByTime) {
				w.events[eventType][cause] = watchEvents.WithLabelValues(resource, string(eventType), string(cause))
			}
		}
	}
	return w
}

// Event counts an event that a client has taken.
func (w *Watch) Event(eventType watch.EventType, cause EventCause) { w.events[eventType][cause].Inc() }

// Resumed counts a watch that begins at a resourceVersion.
func (w *Watch) Resumed(result ResumeResult) {
	watchResumes.WithLabelValues(w.resource, string(result)).Inc()
}

// Ended counts a watch that ended.
func (w *Watch) Ended(cause EndCause) { watchesEnded.WithLabelValues(w.resource, string(cause)).Inc() }
