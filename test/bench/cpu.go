// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"tenancy.capsule.io/test/framework"
	"tenancy.capsule.io/test/framework/controlplane"
)

// ticksPerSecond is USER_HZ, which Linux has as 100 on every architecture that
// Kubernetes runs on.
const ticksPerSecond = 100

// serversCPU is how many seconds processors worked for the servers.
type serversCPU struct {
	TenancyAPIServer float64 `json:"tenancyAPIServerSeconds"`
	KubeAPIServer    float64 `json:"kubeAPIServerSeconds"`
}

// cpuOf returns what the servers of a system took since they were started.
func cpuOf(s *framework.System) (serversCPU, error) {
	tenancy, tenancyErr := cpuSeconds(s.Server)
	kube, kubeErr := cpuSeconds(s.ControlPlane.APIServer())
	return serversCPU{TenancyAPIServer: tenancy, KubeAPIServer: kube}, errors.Join(tenancyErr, kubeErr)
}

func (c serversCPU) since(before serversCPU) serversCPU {
	return serversCPU{
		TenancyAPIServer: c.TenancyAPIServer - before.TenancyAPIServer,
		KubeAPIServer:    c.KubeAPIServer - before.KubeAPIServer,
	}
}

// per returns, of what was taken for so many requests, the share of other ones.
func (c serversCPU) per(requests, others int) serversCPU {
	share := float64(others) / float64(requests)
	return serversCPU{TenancyAPIServer: c.TenancyAPIServer * share, KubeAPIServer: c.KubeAPIServer * share}
}

func cpuSeconds(p *controlplane.Process) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return cpuSecondsIn(string(stat))
}

// cpuSecondsIn returns the sum of utime and stime in a file as /proc/self/stat.
func cpuSecondsIn(stat string) (float64, error) {
	// The second field is a name in parentheses that may hold anything; what
	// follows it begins with field 3. The two are fields 14 and 15.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("no CPU time in %q", stat)
	}
	user, userErr := strconv.ParseUint(fields[11], 10, 64)
	system, systemErr := strconv.ParseUint(fields[12], 10, 64)
	return float64(user+system) / ticksPerSecond, errors.Join(userErr, systemErr)
}
