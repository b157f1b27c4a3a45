// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

// piped returns a body that reads what transform writes of another one. Closing it ends
// both.
func piped(src io.ReadCloser, transform func(dst io.Writer, src io.Reader) error) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		dst := bufio.NewWriterSize(writer, pieces)
		err := transform(dst, src)
		if err == nil {
			err = dst.Flush()
		}
		if err = errors.Join(err, src.Close()); err != nil {
			err = brokenError{err}
		}
		writer.CloseWithError(err)
	}()
	return pipe{reader, src}
}

// brokenError is an error that is no end of a body, even if it comes of one.
type brokenError struct{ error }

// pipe closes what it is made of first: who reads from there is not kept waiting.
type pipe struct {
	*io.PipeReader
	src io.Closer
}

// Close implements io.Closer.
func (p pipe) Close() error { return errors.Join(p.PipeReader.Close(), p.src.Close()) }

// compress has an answer be compressed as it is read.
func compress(resp *http.Response) {
	resp.Body = piped(resp.Body, func(dst io.Writer, src io.Reader) error {
		// The level is that of the API server.
		compressed, err := gzip.NewWriterLevel(dst, gzip.BestSpeed)
		if err != nil {
			return err
		}
		_, err = io.Copy(compressed, src)
		return errors.Join(err, compressed.Close())
	})
	resp.Header.Set("Content-Encoding", "gzip")
	resp.Header.Add("Vary", "Accept-Encoding")
}

// acceptsGzip reports whether a client takes gzip, as
// k8s.io/apiserver/pkg/endpoints/handlers/responsewriters understands it.
func acceptsGzip(header http.Header) bool {
	for _, encodings := range header.Values("Accept-Encoding") {
		for encoding := range strings.SplitSeq(encodings, ",") {
			if name, _, _ := strings.Cut(encoding, ";"); strings.TrimSpace(name) == "gzip" {
				return true
			}
		}
	}
	return false
}
