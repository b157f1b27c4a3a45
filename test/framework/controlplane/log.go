// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	tailLines = 20
	tailBytes = 16 << 10
)

// tailLog returns the last lines of a log, of what is beyond start.
func tailLog(file string, start int64) (string, error) {
	log, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	defer log.Close() //nolint:errcheck // only read
	info, err := log.Stat()
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	start = max(start, info.Size()-tailBytes)
	data, err := io.ReadAll(io.NewSectionReader(log, start, info.Size()-start))
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  " + strings.Join(lines, "\n  "), nil
}
