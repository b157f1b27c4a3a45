// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	addedLine = `{"type":"ADDED","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1",` +
		`"metadata":{"name":"oil-prod","resourceVersion":"7","ownerReferences":[{"apiVersion":"v1","kind":"Tenant","name":"oil","uid":"1"}]}}}`
	bookmarkLine = `{"type":"BOOKMARK","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"7"}}}`
	endLine      = `{"type":"BOOKMARK","object":{"kind":"TenantNamespace","apiVersion":"tenancy.capsule.io/v1alpha1",` +
		`"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}`
	errorLine = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":410}}`
)

func TestParseEvent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given   string
		want    event
		wantErr string
	}{
		"added":          {given: addedLine, want: event{kind: watch.Added, name: "oil-prod"}},
		"deleted":        {given: strings.Replace(addedLine, "ADDED", "DELETED", 1), want: event{kind: watch.Deleted, name: "oil-prod"}},
		"bookmark":       {given: bookmarkLine, want: event{kind: watch.Bookmark}},
		"end of initial": {given: endLine, want: event{kind: watch.Bookmark, initialEnd: true}},
		"error":          {given: errorLine, wantErr: "410"},
		"no name":        {given: `{"type":"ADDED","object":{}}`, wantErr: "no name"},
		"no event":       {given: `{"kind":"Status"}`, wantErr: "Status"},
		"empty":          {wantErr: "the watch sent"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseEvent([]byte(test.given))
			if test.wantErr != "" {
				require.ErrorContains(t, err, test.wantErr)
				return
			}
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now(), got.at, time.Minute)
			got.at = time.Time{}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestInitialEvents(t *testing.T) {
	t.Parallel()
	decoder, err := newDecoder()
	require.NoError(t, err)
	another := strings.Replace(addedLine, "oil-prod", "gas-prod", 1)
	initial := addedLine + "\n" + another + "\n" + endLine + "\n"

	var copied bytes.Buffer
	size, err := copyInitialEvents(&copied, strings.NewReader(initial+addedLine+"\n"))
	require.NoError(t, err)
	assert.Equal(t, initial, copied.String(), "no more than the initial events")
	assert.EqualValues(t, len(initial), size)
	names, err := initialNames(copied.Bytes(), decoder)
	require.NoError(t, err)
	assert.Equal(t, []string{"gas-prod", "oil-prod"}, names)

	_, err = copyInitialEvents(&bytes.Buffer{}, strings.NewReader(addedLine+"\n"))
	require.ErrorContains(t, err, "the watch ended")
	_, err = initialNames([]byte(strings.Replace(initial, "ADDED", "MODIFIED", 1)), decoder)
	require.ErrorContains(t, err, "MODIFIED")
}

func TestLatency(t *testing.T) {
	t.Parallel()
	given := samples{{1, 2, 30}, {4, 5, 6}, {7, 8, 9}}
	assert.Equal(t, latency{
		Measurement: "WATCH", What: "it", Clients: 1, Watches: 3, From: fromRequest, Samples: 9, MedianMillis: 6, P99Millis: 30, MaxMillis: 30,
		P99: spread{Median: 9, Min: 6, Max: 30},
	}, given.ofWatches("it", 3, fromRequest))
}

// TestOwnNamespaces counts what seedWatchers binds.
func TestOwnNamespaces(t *testing.T) {
	t.Parallel()
	for _, o := range []options{{Namespaces: 10, Watches: 4}, {Namespaces: 12, Watches: 4}, {Namespaces: 2, Watches: 5}} {
		want := make([]int, o.Watches)
		for i := range o.Namespaces {
			want[i%o.Watches]++
		}
		got := make([]int, o.Watches)
		for i := range got {
			got[i] = o.ownNamespaces(i)
		}
		assert.Equal(t, want, got, "%d namespaces, %d watches", o.Namespaces, o.Watches)
	}
}

func TestMemoryIn(t *testing.T) {
	t.Parallel()
	const status = "Name:\ttenancy-apiserv\nVmHWM:\t    4096 kB\nVmRSS:\t    2560 kB\nThreads:\t9\n"
	resident, err := memoryIn(status, "VmRSS")
	require.NoError(t, err)
	assert.InDelta(t, 2.5, resident, 1e-9)
	_, err = memoryIn(status, "Vm")
	require.ErrorContains(t, err, "no Vm")
	_, err = memoryIn(status, "Threads")
	require.Error(t, err, "it is not in kB")
}

func TestSumOf(t *testing.T) {
	t.Parallel()
	const metrics = `# TYPE ended_total counter
ended_total{cause="slowness",resource="a"} 3
ended_total{cause="client",resource="a"} 100
ended_total{cause="slowness",resource="b"} 4
ended_total_of_others{cause="slowness"} 5
`
	sum, err := sumOf(metrics, "ended_total", `cause="slowness"`)
	require.NoError(t, err)
	assert.InDelta(t, 7, sum, 1e-9)
	sum, err = sumOf("", "ended_total", `cause="slowness"`)
	require.NoError(t, err)
	assert.Zero(t, sum, "nothing has happened yet")
	_, err = sumOf("ended_total{} x", "ended_total", "")
	require.Error(t, err)
}
