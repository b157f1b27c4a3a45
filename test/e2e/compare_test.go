// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// answer is what a client gets.
type answer struct {
	Code            int
	ContentType     string
	ContentEncoding string
	Body            []byte
}

// ask sends a request as the user of the config.
func ask(t *testing.T, config *rest.Config, method, target, accept, body string) answer {
	t.Helper()
	return send(t, config, method, target, accept, body, nil)
}

// send is ask with further headers.
func send(t *testing.T, config *rest.Config, method, target, accept, body string, header http.Header) answer {
	t.Helper()
	a, err := trySend(t.Context(), config, method, target, accept, body, header)
	require.NoError(t, err)
	return a
}

// trySend is send for other goroutines than the test's.
func trySend(ctx context.Context, config *rest.Config, method, target, accept, body string, header http.Header) (answer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer{}, err
	}
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, config.Host+target, content)
	if err != nil {
		return answer{}, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	req.Header.Set("Content-Type", "application/json")
	for key := range header {
		req.Header.Set(key, header.Get(key))
	}
	response, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return answer{
		Code: response.StatusCode, ContentType: response.Header.Get("Content-Type"),
		ContentEncoding: response.Header.Get("Content-Encoding"), Body: data,
	}, err
}

// failure is the part of a failed answer that has to be the native one.
type failure struct {
	Code        int
	ContentType string
	Status      metav1.Status
}

// failureOf reads an error and puts the native name where the view's is.
func (k kind) failureOf(t *testing.T, a answer) failure {
	t.Helper()
	var status metav1.Status
	require.GreaterOrEqual(t, a.Code, http.StatusBadRequest, "no failure: %s %q", a.ContentType, a.Body)
	require.NoError(t, json.Unmarshal(jsonOf(t, a), &status), "not a Status: %s", a.Body)
	require.Equal(t, "Status", status.Kind, "%s", a.Body)
	// One message names a Go type; the API server's is an internal one.
	goType := "*core." + k.nativeKind
	if group, _, _ := strings.Cut(k.native.Group, "."); group != "" {
		goType = "*" + group + "." + k.nativeKind
	}
	native := strings.NewReplacer(
		k.view.GroupResource().String(), k.native.GroupResource().String(),
		"*v1alpha1."+k.viewKind, goType,
		k.view.Resource, k.native.Resource,
	)
	status.Message = native.Replace(status.Message)
	if status.Details != nil {
		status.Details.Kind = native.Replace(status.Details.Kind)
		if status.Details.Group == v1alpha1.GroupName {
			status.Details.Group = k.native.Group
		}
	}
	return failure{Code: a.Code, ContentType: a.ContentType, Status: status}
}

// compareFailures asks the view, and the native resource, for every target in
// every format, and compares what is wrong.
func (k kind) compareFailures(t *testing.T, targets, formats map[string]string) {
	t.Helper()
	config := system.AdminConfig(t)
	for name, target := range targets {
		for format, accept := range formats {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				want := ask(t, config, http.MethodGet, k.nativePath()+target, accept, "")
				got := ask(t, config, http.MethodGet, k.viewPath()+target, accept, "")
				if want.Code == http.StatusOK {
					require.Equal(t, http.StatusOK, got.Code, "%s", got.Body)
					return
				}
				wanted, given := k.failureOf(t, want), k.failureOf(t, got)
				if k.custom && wanted.Code == http.StatusNotAcceptable {
					// Another handler of the API server words it otherwise.
					given.Status.Message, given.Status.Details = wanted.Status.Message, wanted.Status.Details
				}
				if diff := cmp.Diff(wanted, given); diff != "" {
					t.Errorf("(-native +view):\n%s", diff)
				}
			})
		}
	}
}

// compareFailures is that of namespaces.
func compareFailures(t *testing.T, targets, formats map[string]string) {
	t.Helper()
	kindOf(t, "namespaces").compareFailures(t, targets, formats)
}

// compare asks the view for a target, and the native resource before and after:
// where these two answers are one, ages included, the view's has to be the same.
func (k kind) compare(t *testing.T, target, accept string) {
	t.Helper()
	config := system.AdminConfig(t)
	k.compareBy(t, func(path string) answer { return ask(t, config, http.MethodGet, path+target, accept, "") })
}

// compareBy is compare by any way to read what is at the path of a resource.
func (k kind) compareBy(t *testing.T, read func(path string) answer) {
	t.Helper()
	deadline := time.Now().Add(eventually)
	for {
		// To decode is slow: ages would go on.
		native, view, again := read(k.nativePath()), read(k.viewPath()), read(k.nativePath())
		want, got, after := asNative(t, native), asNative(t, view), asNative(t, again)
		// To say how they differ takes cmp seconds where lists are long.
		if !reflect.DeepEqual(want, after) {
			require.True(t, time.Now().Before(deadline), "the native answer never was the same twice")
			continue
		}
		require.Equal(t, native.ContentType, view.ContentType)
		if !reflect.DeepEqual(want, got) {
			t.Errorf("(-native +view):\n%s", cmp.Diff(want, got))
		}
		return
	}
}
