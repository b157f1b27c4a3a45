// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tenancy.capsule.io/pkg/view"
)

const (
	// resumableAfter is when a server takes on clients of other servers where they
	// are, instead of having them list: it knows then what changed of late.
	resumableAfter = view.ReplicaLag + 10*time.Second

	movingInformers = 24
	// editsPerMove is how many edits are made before clients are moved: a watch that
	// lasts less than a second counts as a failure.
	editsPerMove = 60
)

// TestBetweenReplicas moves clients to and fro between two replicas, one of which
// lags behind, by cutting their connections: they resume at the revision where
// they are. Replicas let them do so when they have run for some minutes. The other
// tests run meanwhile, this one goes on when they are through.
func TestBetweenReplicas(t *testing.T) {
	w := newWorld(t, "between")
	line := newForwarder(t, replicaDelay, system.ControlPlane.Server())
	var replicas []string
	for i, args := range [][]string{nil, kubeconfigArgs(t, serverIdentity(), line.url())} {
		server, url, err := system.AddServer(t.Context(), fmt.Sprintf("tenancy-apiserver-between-%d", i), args...)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, system.ControlPlane.RemoveProcess(server)) })
		replicas = append(replicas, url)
	}
	started := time.Now()
	service := newForwarder(t, 0, replicas...)

	t.Parallel() // goes on after the tests that are not

	require.Eventually(t, func() bool { return time.Since(started) > resumableAfter }, resumableAfter+time.Second, time.Second)
	w.stir(t)
	for i := range movingInformers {
		user := w.oneOf(i)
		config := system.DirectConfigOf(t, user.name, user.groups...)
		config.Host = service.url()
		w.startInformer(t, i, config, user)
	}
	w.settle(t, "before the first edit")
	during := w.editInBackground(t, 0)
	for i := range *moves {
		during.await(t, (i+1)*editsPerMove)
		w.log.note("cut")
		service.cut()
	}
	during.stop(t)
	w.settle(t, "after the last edit")
	w.verify(t)
	accepted := 0
	for _, url := range replicas {
		accepted += resumed(t, url)
	}
	t.Logf("%d clients were moved %d times and resumed %d times", movingInformers, *moves, accepted)
	require.Greater(t, accepted, movingInformers, "clients list anew")
}

var resumedPattern = regexp.MustCompile(`(?m)^tenancy_apiserver_watch_resumes_total\{.*result="accepted".*\} (\d+)$`)

// resumed returns how often a server let a client go on where it was.
func resumed(t *testing.T, url string) int {
	t.Helper()
	config := system.AdminConfig(t)
	config.Host = url
	got := ask(t, config, "/metrics")
	require.Equal(t, http.StatusOK, got.code, string(got.body))
	sum := 0
	for _, found := range resumedPattern.FindAllSubmatch(got.body, -1) {
		n, err := strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		sum += n
	}
	return sum
}
