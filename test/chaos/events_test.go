// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// keep writes the events to a file, one a line, for whoever has to find out what went
// wrong.
func keep(t *testing.T, events []event) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "events.log"))
	require.NoError(t, err)
	for _, e := range events {
		content := []byte("deleted")
		if e.object != nil {
			content, err = json.Marshal(e.object)
			require.NoError(t, err)
		}
		_, err = fmt.Fprintf(file, "%s %d %s %s\n", e.received.Format("15:04:05.000"), e.revision, e.id, content)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
}
