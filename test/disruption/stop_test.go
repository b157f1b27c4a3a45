// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// TestServerStopped stops tenancy-apiserver in order: a watch, of a client that
// asks it directly and of one behind the API server, ends as one whose time is
// over, between two events.
func TestServerStopped(t *testing.T) {
	config := system.AdminConfig(t)
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	var streams []*bufio.Reader
	for _, host := range []string{system.URL, config.Host} {
		url := host + "/apis/tenancy.capsule.io/v1alpha1/tenantnamespaces?watch=1&allowWatchBookmarks=true"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
		stream := bufio.NewReader(response.Body)
		for line := ""; !strings.Contains(line, "initial-events-end"); {
			line, err = stream.ReadString('\n')
			require.NoError(t, err)
		}
		streams = append(streams, stream)
	}
	require.NoError(t, system.Server.Stop())
	for _, stream := range streams {
		for err = nil; err == nil; {
			var line string
			if line, err = stream.ReadString('\n'); err != nil {
				require.Empty(t, line)
			}
		}
		require.ErrorIs(t, err, io.EOF, "not cut off")
	}
	require.NoError(t, system.Server.Start(t.Context()))
}
