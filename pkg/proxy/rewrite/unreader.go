// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"io"
)

// unreader is a reader that takes back what was read too much. Unlike a bufio.Reader it
// has no buffer while nothing is ahead.
type unreader struct {
	// ahead comes before what src has.
	ahead []byte
	src   io.Reader
}

// Read implements io.Reader.
func (u *unreader) Read(p []byte) (int, error) {
	if len(u.ahead) == 0 {
		return u.src.Read(p)
	}
	n := copy(p, u.ahead)
	u.keep(u.ahead[n:])
	return n, nil
}

// unread has data be read again, which the caller keeps.
func (u *unreader) unread(data []byte) {
	if len(data) > 0 {
		u.ahead = append(bytes.Clone(data), u.ahead...)
	}
}

// await waits until the next byte is there that is no white space. Its error is io.EOF where
// there is none.
func (u *unreader) await() error {
	for {
		if u.keep(trimLeft(u.ahead)); u.ahead != nil {
			return nil
		}
		next := make([]byte, 1)
		n, err := u.src.Read(next)
		if n == 0 && err != nil {
			return err
		}
		u.ahead = next[:n]
	}
}

// keep has rest, a part of what is ahead, be all of it.
func (u *unreader) keep(rest []byte) {
	if len(rest) == 0 {
		rest = nil
	}
	u.ahead = rest
}
