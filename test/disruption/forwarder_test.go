// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forwarder passes TCP connections on: to one server, whose clients it can cut
// off or hold up, or to one of several in turn, as a Service does.
type forwarder struct {
	listener net.Listener
	// delay is how long bytes from the servers are under way.
	delay time.Duration

	lock sync.Mutex
	// lock protects what follows. up says which targets are asked, next which is
	// the first to be.
	targets []string
	up      []bool
	next    int
	open    map[net.Conn]bool
}

// newForwarder listens until the test is over. Targets are URLs.
func newForwarder(t *testing.T, delay time.Duration, targets ...string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	f := &forwarder{listener: listener, delay: delay, open: map[net.Conn]bool{}}
	for _, target := range targets {
		f.targets = append(f.targets, strings.TrimPrefix(target, "https://"))
		f.up = append(f.up, true)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // nobody is left to be told
		f.cut()
		running.Wait()
	})
	return f
}

// url is where the forwarder listens.
func (f *forwarder) url() string { return "https://" + f.listener.Addr().String() }

func (f *forwarder) port() int { return f.listener.Addr().(*net.TCPAddr).Port }

// setUp says whether a target is to be asked.
func (f *forwarder) setUp(target int, up bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.up[target] = up
}

// cut ends all connections. New ones are passed on.
func (f *forwarder) cut() {
	f.lock.Lock()
	defer f.lock.Unlock()
	for conn := range f.open {
		conn.Close() //nolint:errcheck // that is the point
	}
}

func (f *forwarder) serve(down net.Conn) {
	defer f.forget(down)
	f.remember(down)
	up, err := f.dial()
	if err != nil {
		return
	}
	defer f.forget(up)
	f.remember(up)
	var copying sync.WaitGroup
	copying.Go(func() {
		io.Copy(up, down) //nolint:errcheck // ends with either connection
		up.Close()        //nolint:errcheck // so that the other direction ends
	})
	delayed(down, up, f.delay)
	down.Close() //nolint:errcheck // so that the other direction ends
	copying.Wait()
}

// dial connects to the first target that answers.
func (f *forwarder) dial() (net.Conn, error) {
	f.lock.Lock()
	var targets []string
	for i := range f.targets {
		if n := (f.next + i) % len(f.targets); f.up[n] {
			targets = append(targets, f.targets[n])
		}
	}
	f.next++
	f.lock.Unlock()
	for _, target := range targets {
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(context.Background(), "tcp4", target); err == nil {
			return conn, nil
		}
	}
	return nil, errors.New("no target answers")
}

func (f *forwarder) remember(conn net.Conn) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.open[conn] = true
}

func (f *forwarder) forget(conn net.Conn) {
	f.lock.Lock()
	defer f.lock.Unlock()
	conn.Close() //nolint:errcheck // it may be closed already
	delete(f.open, conn)
}

// delayed copies bytes, each of which arrives after a delay.
func delayed(to io.Writer, from io.Reader, delay time.Duration) {
	if delay == 0 {
		io.Copy(to, from) //nolint:errcheck // ends with either connection
		return
	}
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, 1024)
	var writing sync.WaitGroup
	writing.Go(func() {
		for c := range chunks {
			time.Sleep(time.Until(c.due)) //nolint:forbidigo // the line is slow on purpose
			to.Write(c.data)              //nolint:errcheck // the reader ends with the connection
		}
	})
	for buffer := make([]byte, 32<<10); ; {
		n, err := from.Read(buffer)
		if n > 0 {
			chunks <- chunk{data: append([]byte(nil), buffer[:n]...), due: time.Now().Add(delay)}
		}
		if err != nil {
			break
		}
	}
	close(chunks)
	writing.Wait()
}
