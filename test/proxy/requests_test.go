// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/test/framework"
)

// TestRequests sends what is longer, slower or rarer than most requests, by each version
// of HTTP and as each kind of user.
func TestRequests(t *testing.T) {
	s := newStage(t, "requests")
	for name, config := range map[string]*rest.Config{
		"certificate": system.Config(t, owner, users), "token": system.TokenConfig(t, owner, users),
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []int{1, 2} {
				t.Run(fmt.Sprintf("HTTP %d", version), func(t *testing.T) {
					c := &caller{newHTTPClient(t, proxy.Config(config), version), proxy.URL()}
					t.Run("version", func(t *testing.T) { testVersion(t, c, version) })
					t.Run("large", func(t *testing.T) { testLarge(t, c, s) })
					t.Run("too large", func(t *testing.T) { testTooLarge(t, c, s) })
					t.Run("continue", func(t *testing.T) { testContinue(t, c, s) })
					t.Run("watch ends", func(t *testing.T) { testWatchEnds(t, c, s) })
				})
			}
		})
	}
	t.Run("refused upgrade", func(t *testing.T) { testRefusedUpgrade(t, s) })
}

// caller sends requests to the proxy.
type caller struct {
	client *http.Client
	url    string
}

// newHTTPClient returns a client that speaks one version of HTTP, and waits to be told to
// send a body where it says that it does.
func newHTTPClient(t testing.TB, config *rest.Config, version int) *http.Client {
	t.Helper()
	tlsConfig, err := rest.TLSConfigFor(config)
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: tlsConfig, Protocols: &http.Protocols{}, ExpectContinueTimeout: time.Hour, DisableCompression: true}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetHTTP2(version == 2)
	t.Cleanup(transport.CloseIdleConnections)
	withCredential, err := rest.HTTPWrappersForConfig(config, transport)
	require.NoError(t, err)
	return &http.Client{Transport: withCredential, Timeout: framework.Eventually}
}

// answer is one that has come to its end.
type answer struct {
	*http.Response
	body []byte
}

// send returns the answer to a request. The header is names and values in turn.
func (c *caller) send(t testing.TB, ctx context.Context, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := c.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp, data}
}

func (c *caller) get(t testing.TB, path string) answer {
	t.Helper()
	return c.send(t, t.Context(), http.MethodGet, path, nil)
}

func testVersion(t *testing.T, c *caller, version int) {
	resp := c.get(t, "/version")
	compare(t, "version", []int{http.StatusOK, version}, []int{resp.StatusCode, resp.ProtoMajor})
}

// configMap returns a ConfigMap of about a size, in JSON.
func configMap(t testing.TB, name string, size int) []byte {
	t.Helper()
	data, err := json.Marshal(&corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Data:       map[string]string{"large": strings.Repeat("x", size)},
	})
	require.NoError(t, err)
	return data
}

// testLarge writes and reads nearly as much as a ConfigMap may hold.
func testLarge(t *testing.T, c *caller, s *stage) {
	const size = 1<<20 - 1<<10
	path := "/api/v1/namespaces/" + s.namespace + "/configmaps"
	resp := c.send(t, t.Context(), http.MethodPost, path, bytes.NewReader(configMap(t, "large", size)))
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", resp.body)
	resp = c.get(t, path+"/large")
	var got corev1.ConfigMap
	require.NoError(t, json.Unmarshal(resp.body, &got))
	require.Equal(t, size, len(got.Data["large"])) //nolint:testifylint // Len would print it
	resp = c.send(t, t.Context(), http.MethodDelete, path+"/large", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", resp.body)
}

// counted is a body that says how much of it was read.
type counted struct {
	io.Reader
	read *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// testTooLarge sends what the API server refuses before it has read it.
func testTooLarge(t *testing.T, c *caller, s *stage) {
	path := "/api/v1/namespaces/" + s.namespace + "/configmaps/large"
	body := configMap(t, "large", 32<<20)
	var sent atomic.Int64
	for name, reader := range map[string]io.Reader{
		"of known length": bytes.NewReader(body), "of unknown length": counted{bytes.NewReader(body), &sent},
	} {
		resp := c.send(t, t.Context(), http.MethodPut, path, reader)
		var status metav1.Status
		require.NoError(t, json.Unmarshal(resp.body, &status))
		compare(t, name, []any{http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge}, []any{resp.StatusCode, status.Reason})
	}
	require.Less(t, sent.Load(), int64(len(body)), "what is refused is sent to its end")
}

// testContinue has the client keep its body until it is asked for it.
func testContinue(t *testing.T, c *caller, s *stage) {
	var asked atomic.Int64
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			require.Equal(t, http.StatusContinue, code)
			asked.Add(1)
			return nil
		},
	})
	path := "/api/v1/namespaces/" + s.namespace + "/configmaps"
	resp := c.send(t, ctx, http.MethodPost, path+"?dryRun=All", bytes.NewReader(configMap(t, "continued", 100<<10)), "Expect", "100-continue")
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", resp.body)
	require.EqualValues(t, 1, asked.Load(), "answers that ask for the body")
}

// testWatchEnds has watches of what the API server answers, and of what a view does, come
// to an end of their own.
func testWatchEnds(t *testing.T, c *caller, s *stage) {
	for _, path := range []string{"/api/v1/namespaces/" + s.namespace + "/configmaps", "/api/v1/namespaces"} {
		began := time.Now()
		resp := c.get(t, path+"?watch=true&timeoutSeconds=1")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NotEmpty(t, resp.body)
		require.Less(t, time.Since(began), soon)
	}
}

// testRefusedUpgrade has somebody ask for a stream, by a GET, who may see nothing.
func testRefusedUpgrade(t *testing.T, s *stage) {
	c := &caller{newHTTPClient(t, proxy.Config(system.TokenConfig(t, "bob")), 1), proxy.URL()}
	for _, path := range []string{"/api/v1/namespaces/" + s.namespace + "/pods/" + s.pod + "/exec?command=ls&stdout=1", "/api/v1/namespaces?watch=true"} {
		resp := c.send(t, t.Context(), http.MethodGet, path, nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		require.Equal(t, http.StatusForbidden, resp.StatusCode, "%s: %s", path, resp.body)
	}
}
