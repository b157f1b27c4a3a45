// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// seats returns the value of a priority level's metric.
func seats(t *testing.T, config *rest.Config, metric, level string) float64 {
	t.Helper()
	got := ask(t, config, http.MethodGet, "/metrics", "", "")
	require.Equal(t, http.StatusOK, got.Code)
	sum := 0.0
	for line := range strings.Lines(string(got.Body)) {
		if !strings.HasPrefix(line, metric+"{") || !strings.Contains(line, `priority_level="`+level+`"`) {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:len(line)-1], 64)
		require.NoError(t, err, line)
		sum += value
	}
	return sum
}

// TestWatchesHoldNoSeats holds that open watches take nothing away from the
// API server's concurrency: of a level that has two seats, thirty are open.
func TestWatchesHoldNoSeats(t *testing.T) {
	t.Parallel()
	const name, watches = "watch-seats", 30
	flow := system.Admin(t).FlowcontrolV1()
	ctx := context.WithoutCancel(t.Context())
	_, err := flow.PriorityLevelConfigurations().Create(ctx, &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: new(int32(1)), BorrowingLimitPercent: new(int32(0)),
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 1, HandSize: 1, QueueLengthLimit: 100}},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = flow.PriorityLevelConfigurations().Delete(ctx, name, metav1.DeleteOptions{}) })
	_, err = flow.FlowSchemas().Create(ctx, &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: name}, MatchingPrecedence: 10,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true, Namespaces: []string{"*"}}},
			}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = flow.FlowSchemas().Delete(ctx, name, metav1.DeleteOptions{}) })

	config, admin := everyNamespace(t, name), system.AdminConfig(t)
	served := func() float64 {
		return seats(t, admin, "apiserver_flowcontrol_dispatched_requests_total", name)
	}
	require.Eventually(t, func() bool {
		ask(t, config, http.MethodGet, viewPath+"/absent", "", "")
		return served() > 0
	}, eventually, tick, "the level is in use")

	before := served()
	for range watches {
		s := openStream(t, config, viewPath+query("watch", "1", "fieldSelector", "metadata.name=kube-system"), "")
		require.Equal(t, http.StatusOK, s.response.StatusCode)
		s.must(t, watch.Added)
	}
	require.GreaterOrEqual(t, served()-before, float64(watches), "the watches were of this level")
	for _, server := range []struct {
		name   string
		config *rest.Config
		levels []string
	}{
		{"the API server", admin, []string{name}},
		{"tenancy-apiserver", system.DirectConfigOf(t, "root", "system:masters"), []string{name}},
	} {
		for _, metric := range []string{"apiserver_flowcontrol_current_executing_seats", "apiserver_flowcontrol_current_inqueue_requests"} {
			for _, level := range server.levels {
				require.Eventually(t, func() bool { return seats(t, server.config, metric, level) == 0 }, eventually, tick, "%s of %s", metric, server.name)
			}
		}
	}
	require.Equal(t, http.StatusOK, ask(t, config, http.MethodGet, viewPath+"/kube-system", "", "").Code)
}

// TestWatchLimit asks a server that allows two watches a user.
func TestWatchLimit(t *testing.T) {
	t.Parallel()
	_, url, err := system.AddServer(t.Context(), "watch-limit", "--max-watches-per-user=2")
	require.NoError(t, err)
	at := func(name string) *rest.Config {
		config := system.DirectConfigOf(t, name)
		config.Host = url
		return config
	}
	ann, ben := at("limit-ann"), at("limit-ben")
	target := viewPath + query("watch", "1")
	first := openStream(t, ann, target, "")
	require.Equal(t, http.StatusOK, first.response.StatusCode)
	require.Equal(t, http.StatusOK, openStream(t, ann, target, "").response.StatusCode)
	refused := openStream(t, ann, target, "")
	require.Equal(t, http.StatusTooManyRequests, refused.response.StatusCode)
	require.Equal(t, "10", refused.response.Header.Get("Retry-After"))
	var status metav1.Status
	require.NoError(t, refused.decoder.Decode(&status))
	require.Equal(t, metav1.StatusReasonTooManyRequests, status.Reason)

	require.Equal(t, http.StatusOK, ask(t, ann, http.MethodGet, viewPath, "", "").Code, "lists are not limited")
	require.Equal(t, http.StatusOK, openStream(t, ben, target, "").response.StatusCode, "nor are others")
	first.end()
	require.Eventually(t, func() bool {
		return openStream(t, ann, target, "").response.StatusCode == http.StatusOK
	}, eventually, tick, "a watch that has ended makes room")
}
