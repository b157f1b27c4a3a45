// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"
)

// TestEtcdCompacted has etcd forget, all the time, what the reflectors of
// kube-apiserver and tenancy-apiserver are at. The latter is stopped for a while,
// after which nobody knows any more what it missed: it has to list anew, under
// its open watches.
func TestEtcdCompacted(t *testing.T) {
	w := newWorld(t, "compacted")
	w.stir(t)
	w.follow(t)
	background(t, func(ctx context.Context) {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if err := compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}, 100*time.Millisecond)
	})
	require.NoError(t, w.edit(t.Context(), *edits/3))
	w.settle(t, "under compaction")
	w.mark(t)

	server := system.Server.PID()
	require.NoError(t, syscall.Kill(server, syscall.SIGSTOP))
	defer syscall.Kill(server, syscall.SIGCONT) //nolint:errcheck // it goes on already unless the test has failed
	require.NoError(t, w.edit(t.Context(), *edits/3))
	require.NoError(t, system.ControlPlane.APIServer().Restart(t.Context()))
	require.NoError(t, compact(t.Context()))
	require.NoError(t, syscall.Kill(server, syscall.SIGCONT))
	require.NoError(t, w.edit(t.Context(), *edits/3))
	w.settle(t, "after the last edit")
	w.verify(t)
	require.Equal(t, server, system.Server.PID(), "tenancy-apiserver has been restarted")
}

// compact has etcd forget everything but the present.
func compact(ctx context.Context) error {
	var present struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	// The key "compact" in base64: there is none, the answer's header counts.
	if err := askEtcd(ctx, "/v3/kv/range", `{"key":"Y29tcGFjdA=="}`, &present); err != nil {
		return err
	}
	// kube-apiserver compacts, too.
	var ignored any
	err := askEtcd(ctx, "/v3/kv/compaction", fmt.Sprintf(`{"revision":%q,"physical":true}`, present.Header.Revision), &ignored)
	if err != nil && bytes.Contains([]byte(err.Error()), []byte("has been compacted")) {
		return nil
	}
	return err
}

func askEtcd(ctx context.Context, path, question string, answer any) error {
	config, err := system.ControlPlane.EtcdTLS()
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, system.ControlPlane.EtcdEndpoint()+path, bytes.NewReader([]byte(question)))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask etcd: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var body bytes.Buffer
		body.ReadFrom(response.Body) //nolint:errcheck // it explains, if it can
		return fmt.Errorf("ask etcd: %s: %s", response.Status, body.String())
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
