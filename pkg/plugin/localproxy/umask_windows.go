// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build windows

package localproxy

// umask does nothing: a socket has the rights of its directory here.
func umask(int) (restore func()) { return func() {} }
