// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package localproxy

import "syscall"

// umask sets the mode bits that files of this process do not get, and returns what sets
// them back. It is for a process that makes nothing else meanwhile.
func umask(mask int) (restore func()) {
	old := syscall.Umask(mask)
	return func() { syscall.Umask(old) }
}
