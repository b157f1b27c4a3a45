// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

const (
	// systemNamespace is where tenancy-controller runs.
	systemNamespace = "tenancy-system"
	// controllerUser is tenancy-controller in the audit log.
	controllerUser = "system:serviceaccount:" + systemNamespace + ":tenancy-controller"
)

// readAudit calls each for every answered request about an object in an audit log, from
// an offset on, and returns the offset to go on at. The last line may be half written:
// it is left for then.
func readAudit(path string, offset int64, each func(*auditv1.Event)) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return offset, fmt.Errorf("open audit log: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("read audit log: %w", err)
	}
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("read audit log: %w", err)
		}
		offset += int64(len(line))
		event := &auditv1.Event{}
		if err := json.Unmarshal(line, event); err != nil {
			return offset, fmt.Errorf("read audit log: %w", err)
		}
		if event.Stage == auditv1.StageResponseComplete && event.ObjectRef != nil && event.ResponseStatus != nil {
			each(event)
		}
	}
}

// writesIn counts the writes of tenancy-controller in an audit log from an offset on,
// but for those by which it is elected, and returns the offset to go on at.
func writesIn(path string, offset int64) (count int, next int64, err error) {
	next, err = readAudit(path, offset, func(event *auditv1.Event) {
		if event.User.Username != controllerUser || !slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, event.Verb) {
			return
		}
		switch event.ObjectRef.Resource {
		case "leases", "selfsubjectreviews", "tokenreviews", "subjectaccessreviews":
		case "events":
			// Those about the Lease are in this namespace, those about Tenants are not.
			if event.ObjectRef.Namespace != systemNamespace {
				count++
			}
		default:
			count++
		}
	})
	return count, next, err
}
