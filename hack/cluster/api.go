// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tenancy.capsule.io/test/framework/deployment"
)

// The socket of "run" speaks HTTP: GET /status, PUT /process.
const (
	statusPath  = "/status"
	processPath = "/process"
	socketName  = "supervisor.sock"
)

// status is the answer to GET /status.
type status struct {
	PID int `json:"pid"`
	// Ready says that the control plane is, and URL is its kube-apiserver's.
	Ready bool   `json:"ready"`
	URL   string `json:"url,omitempty"`
	// Processes are tenancy-apiserver, tenancy-controller and tenancy-proxy as they
	// were last started, by name.
	Processes map[string]processSpec `json:"processes,omitempty"`
}

// processSpec is the body of PUT /process: a process of ours as it shall run.
type processSpec struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args"`
	// Digest is of the binary, so that a new one is a change.
	Digest string `json:"digest"`
	// ReadyURL answers 200 when the process is ready.
	ReadyURL string `json:"readyURL"`
	// Ports are those in Args, for the next one to have the same.
	Ports ports `json:"ports"`
}

// ports are those of a process: one of tenancy-apiserver, or several of
// tenancy-controller or of tenancy-proxy.
type ports struct {
	Server     int                        `json:"server,omitempty"`
	Controller deployment.ControllerPorts `json:"controller,omitzero"`
	Proxy      deployment.ProxyPorts      `json:"proxy,omitzero"`
}

func (s *processSpec) equal(other *processSpec) bool {
	return s.Path == other.Path && s.Digest == other.Digest && s.ReadyURL == other.ReadyURL && slices.Equal(s.Args, other.Args)
}

// processResult is the answer to PUT /process.
type processResult struct {
	Started bool `json:"started"`
}

// ServeHTTP implements http.Handler.
func (s *supervisor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case http.MethodGet + " " + statusPath:
		writeJSON(w, s.status())
	case http.MethodPut + " " + processPath:
		var spec processSpec
		if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		started, err := s.runProcess(r.Context(), &spec)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, processResult{Started: started})
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value) //nolint:errcheck // the client is gone
}

// withSocket calls f with a path of the socket that is short enough for the
// kernel, whose limit is some 100 bytes, wherever the repository is.
func withSocket(l deployment.Layout, f func(path string) error) error {
	dir, err := os.Open(l.Run)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // only read
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), socketName))
}

// listen opens the socket. The directory is its owner's only, so is the socket.
func listen(l deployment.Layout) (net.Listener, error) {
	// One that a killed supervisor left: up has found that nobody answers.
	if err := os.Remove(filepath.Join(l.Run, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	var listener net.Listener
	err := withSocket(l, func(path string) (err error) {
		listener, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return listener, nil
}

// errNoSupervisor says that nobody listens on the socket.
var errNoSupervisor = errors.New("no supervisor is running")

// call sends a request to the supervisor.
func call(ctx context.Context, l deployment.Layout, method, path string, body, result any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("create request: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = withSocket(l, func(path string) (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
			return err
		})
		return conn, err
	}}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return errNoSupervisor
	}
	if err != nil {
		return fmt.Errorf("ask supervisor: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read supervisor's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(answer)))
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("decode supervisor's answer: %w", err)
	}
	return nil
}
