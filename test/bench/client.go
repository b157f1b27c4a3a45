// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// client is one that asks: its connection, HTTP/2, is its own.
type client struct {
	http    *http.Client
	host    string
	header  http.Header
	decoder runtime.Decoder
}

// newClient returns a client that sends the header with each request.
func newClient(config *rest.Config, header http.Header) (*client, error) {
	config = rest.CopyConfig(config)
	// Clients of equal configs share a transport, unless they cannot be compared
	// because of a function. This one also keeps out a proxy of the environment.
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	decoder, err := newDecoder()
	if err != nil {
		return nil, fmt.Errorf("create decoder: %w", err)
	}
	return &client{http: httpClient, host: config.Host, header: header, decoder: decoder}, nil
}

// question is a request to be sent.
type question struct {
	target, accept string
	// initialEvents says that it begins a watch, of which the initial events are
	// the answer.
	initialEvents bool
	// refused says that the answer is a 403.
	refused bool
}

// status returns that of the answer.
func (q question) status() int {
	if q.refused {
		return http.StatusForbidden
	}
	return http.StatusOK
}

// answer is what came back. The body is where the caller wanted it.
type answer struct {
	// elapsed is from sending the request to the end of the body.
	elapsed     time.Duration
	contentType string
	// size is that of the body, after decompression if it was compressed.
	size int64
	gzip bool
}

// ask sends a request and copies the body of the answer, which has to have the
// status that the question says.
func (c *client) ask(ctx context.Context, q question, body io.Writer) (answer, error) {
	start := time.Now()
	response, err := c.send(ctx, q)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	read := io.Copy
	if q.initialEvents {
		read = copyInitialEvents
	}
	size, err := read(body, response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read answer to %s: %w", q.target, err)
	}
	return answer{
		elapsed: time.Since(start), size: size, gzip: response.Uncompressed,
		contentType: response.Header.Get("Content-Type"),
	}, nil
}

// open sends a request and returns the body of the answer, which has to be a 200,
// for the caller to read and to close.
func (c *client) open(ctx context.Context, q question) (io.ReadCloser, error) {
	response, err := c.send(ctx, q)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// send sends a request and returns the answer if it has the status that the
// question says.
func (c *client) send(ctx context.Context, q question) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+q.target, nil) //nolint:gosec // a server of this run
	if err != nil {
		return nil, fmt.Errorf("create request: %w", err)
	}
	maps.Copy(request.Header, c.header)
	request.Header.Set("Accept", q.accept)
	response, err := c.http.Do(request) //nolint:gosec // a server of this run
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if response.StatusCode != q.status() {
		defer response.Body.Close()
		text, readErr := io.ReadAll(io.LimitReader(response.Body, 1024))
		return nil, errors.Join(fmt.Errorf("ask %s: %s: %s", q.target, response.Status, text), readErr)
	}
	return response, nil
}
