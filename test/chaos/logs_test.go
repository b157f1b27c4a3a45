// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// tooLate is in the answer to whoever is too late for a namespace, which is no
// question of rights.
const tooLate = "because it is being terminated"

// faults are what the controller must never log.
var faults = regexp.MustCompile(`WARNING: DATA RACE|panic:|Observed a panic|fatal error:`)

// requireNoFaults holds that no life of the controller had a data race, or a panic.
func requireNoFaults(t *testing.T, s *system) {
	t.Helper()
	log, err := os.ReadFile(s.controller.LogFile())
	require.NoError(t, err)
	if found := faults.Find(log); found != nil {
		t.Errorf("%s in %s", found, s.controller.LogFile())
	}
}

// requireNothingForbidden holds that the controller never asked for what it may not do.
func requireNothingForbidden(t *testing.T, s *system) {
	t.Helper()
	log, err := os.Open(s.controlPlane.AuditLog())
	require.NoError(t, err)
	defer log.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	requests, refused := 0, map[string]int{}
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(controllerUser)) {
			continue
		}
		var e auditv1.Event
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		if e.User.Username != controllerUser || e.ResponseStatus == nil {
			continue
		}
		requests++
		if e.ResponseStatus.Code == http.StatusForbidden && !strings.Contains(e.ResponseStatus.Message, tooLate) {
			refused[e.Verb+" "+e.RequestURI+": "+e.ResponseStatus.Message]++
		}
	}
	require.NoError(t, lines.Err())
	require.Positive(t, requests, "the audit log does not name %s", controllerUser)
	require.Empty(t, refused, "of %d requests these were forbidden", requests)
}
