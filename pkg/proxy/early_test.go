// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestEarlyRefusal holds that the answer to a request that the API server does not read
// to its end does end.
func TestEarlyRefusal(t *testing.T) {
	const want = "refused, whatever the body says"
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, want)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// The client has begun to send, and sends no more.
	body, sender := io.Pipe()
	defer sender.Close() //nolint:errcheck // never fails
	go func() { _, _ = sender.Write([]byte("{")) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, f.server.URL+"/api/v1/nodes/gold", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer alice")
	resp, err := f.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("asked by %s", resp.Proto)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}
