// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Files is a certificate in a directory, which may appear, and change, at any time.
// Its methods may be called concurrently.
type Files struct {
	cert, key string

	// lock protects what is below.
	lock sync.Mutex
	// loaded is the pair that was read last, nil before; info is of its file.
	loaded *tls.Certificate
	info   fs.FileInfo
}

// NewFiles returns the pair of tls.crt and tls.key in a directory.
func NewFiles(dir string) *Files {
	return &Files{cert: filepath.Join(dir, certFile), key: filepath.Join(dir, keyFile)}
}

// GetCertificate is for tls.Config. It looks at the files on every handshake, and
// reads them if they are others than before. A pair that is whole serves until
// there is another one.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.loaded != nil && os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) {
		return f.loaded, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.info = &pair, info
		}
	}
	if f.loaded == nil {
		return nil, fmt.Errorf("there is no certificate yet: %w", err)
	}
	return f.loaded, nil
}
