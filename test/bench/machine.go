// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where the figures are from.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	// Go is the version that this command, and tenancy-apiserver, is built with.
	Go            string `json:"go"`
	KubeAPIServer string `json:"kubeAPIServer"`
	// LoadBefore and LoadAfter are the load averages of 1, 5 and 15 minutes. The
	// seeding is in the first ones.
	LoadBefore string `json:"loadBefore"`
	LoadAfter  string `json:"loadAfter"`
}

func describeMachine(e *environment) (machine, error) {
	version, err := e.admin.Discovery().ServerVersion()
	if err != nil {
		return machine{}, fmt.Errorf("ask for version: %w", err)
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return machine{}, fmt.Errorf("ask for kernel: %w", err)
	}
	return machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), Kernel: unix.ByteSliceToString(uname.Release[:]), Go: runtime.Version(),
		KubeAPIServer: version.GitVersion, LoadBefore: loadAverage(),
	}, nil
}

// cpuModel returns the name of the processor, or its architecture.
func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer file.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}
