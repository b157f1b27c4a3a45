// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"tenancy.capsule.io/test/framework/controlplane"
)

const (
	// resident is what a process has in memory now, mostResident the most that it
	// ever had.
	resident     = "VmRSS"
	mostResident = "VmHWM"
)

// memory returns a figure of a process' memory, in MiB.
func memory(p *controlplane.Process, field string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return memoryIn(string(status), field)
}

// memoryIn returns a field of a file as /proc/self/status, in MiB.
func memoryIn(status, field string) (float64, error) {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == field+":" && fields[2] == "kB" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of the process", field)
}

// reportMemory reports how much of tenancy-apiserver is, or was, resident when.
func (e *environment) reportMemory(r *report, field, when string) (float64, error) {
	mebibytes, err := memory(e.system.Server, field)
	if err != nil {
		return 0, err
	}
	r.Figures = append(r.Figures, figure{Measurement: "MEMORY", What: e.size() + ": " + when, Value: once(mebibytes), Unit: "MiB"})
	return mebibytes, nil
}
