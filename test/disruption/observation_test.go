// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

const (
	unready = "cannot be read now"
	// manyAnswers are enough to tell what a server does.
	manyAnswers = 20
)

// observation counts the answers to lists of one user, which go on until the test
// is over.
type observation struct {
	lock sync.Mutex
	// lock protects what follows: how often an answer came, and what was wrong.
	answers    map[string]int
	violations []string
}

// observe lists, again and again, a view of a user who may always get something.
func observe(t *testing.T, config *rest.Config, of *resource) *observation {
	t.Helper()
	// No client of client-go, which would try again by itself.
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	client.Timeout = 10 * time.Second
	o := &observation{answers: map[string]int{}}
	background(t, func(ctx context.Context) {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if got, err := get(ctx, client, config.Host+of.viewPath()); err == nil {
				o.take(got.code, got.body)
			}
		}, 50*time.Millisecond)
	})
	return o
}

// answer is what a server answered.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

func get(ctx context.Context, client *http.Client, url string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{code: response.StatusCode, header: response.Header, body: body}, err
}

// ask gets a path as the user of the config.
func ask(t *testing.T, config *rest.Config, path string) answer {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	got, err := get(t.Context(), client, config.Host+path)
	require.NoError(t, err)
	return got
}

func (o *observation) take(code int, body []byte) {
	o.lock.Lock()
	defer o.lock.Unlock()
	answer := strconv.Itoa(code)
	switch code {
	case http.StatusOK:
		var list metav1.PartialObjectMetadataList
		if err := json.Unmarshal(body, &list); err != nil || len(list.Items) == 0 {
			o.violations = append(o.violations, fmt.Sprintf("a list of nothing: %v: %s", err, body))
		}
	case http.StatusServiceUnavailable:
		if bytes.Contains(body, []byte(unready)) {
			answer = unready
		}
	case http.StatusInternalServerError:
		// A server that does not know RBAC asks the API server, which other tests
		// restart meanwhile, whether it may answer.
		if !bytes.Contains(body, []byte("subjectaccessreviews")) {
			o.violations = append(o.violations, fmt.Sprintf("%d: %s", code, body))
		}
	default:
		o.violations = append(o.violations, fmt.Sprintf("%d: %s", code, body))
	}
	o.answers[answer]++
}

func (o *observation) count(answer string) int {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.answers[answer]
}

// String returns how often each answer came.
func (o *observation) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return fmt.Sprintf("%v", o.answers)
}

// await waits for many more answers.
func (o *observation) await(t *testing.T, answer string) {
	t.Helper()
	o.awaitWithin(t, answer, settleWithin)
}

func (o *observation) awaitWithin(t *testing.T, answer string, within time.Duration) {
	t.Helper()
	until := o.count(answer) + manyAnswers
	require.Eventually(t, func() bool { return o.count(answer) >= until }, max(within, settleWithin), 50*time.Millisecond,
		"answers %q are missing: %s", answer, o)
}

// verify holds that no answer was wrong.
func (o *observation) verify(t *testing.T) {
	t.Helper()
	o.lock.Lock()
	defer o.lock.Unlock()
	t.Logf("answers: %v", o.answers)
	require.Empty(t, o.violations)
}
