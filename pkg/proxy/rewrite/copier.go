// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"io"
)

// copier is a reader whose source is copied to dst, but for what is left out of it or put
// into it. Places are bytes from the beginning of the source.
type copier struct {
	src io.Reader
	dst io.Writer
	// ahead is what was read, from the place at on.
	ahead bytes.Buffer
	at    int64
}

// Read implements io.Reader.
func (c *copier) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.ahead.Write(p[:n])
	return n, err
}

// copyTo copies what is between the last place and this one.
func (c *copier) copyTo(place int64) error {
	_, err := c.dst.Write(c.next(place))
	return err
}

// leaveOutTo leaves that out.
func (c *copier) leaveOutTo(place int64) { c.next(place) }

// put puts something in at the last place.
func (c *copier) put(data []byte) error {
	_, err := c.dst.Write(data)
	return err
}

func (c *copier) next(place int64) []byte {
	next := c.ahead.Next(int(place - c.at))
	c.at = place
	return next
}

// whiteSpace returns that at the last place.
func (c *copier) whiteSpace() []byte {
	data := c.ahead.Bytes()
	return data[:len(data)-len(trimLeft(data))]
}

// trimLeft leaves out the white space that JSON may have between its tokens.
func trimLeft(data []byte) []byte { return bytes.TrimLeft(data, " \t\r\n") }
