// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"mime"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestCBOR compares CBOR, which a server has by a feature gate, with JSON. The API
// server does not have it: another server of the views is asked directly.
func TestCBOR(t *testing.T) {
	t.Parallel()
	server, url, err := system.AddServer(t.Context(), "cbor", "--feature-gates=CBORServingAndStorage=true")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	config := system.DirectConfigOf(t, "root", "system:masters")
	config.Host = url
	forEveryKind(t, func(t *testing.T, k kind) {
		for i, name := range []string{"cbor-0", "cbor-1", "cbor-2"} {
			object := k.object(name, map[string]string{"test": "cbor"})
			object.SetAnnotations(map[string]string{"note": fmt.Sprintf("ü \" <&> \u2028 %d", i)})
			k.create(t, object)
			require.Eventually(t, func() bool {
				return ask(t, config, http.MethodGet, k.viewPath()+"/"+name, "", "").Code == http.StatusOK
			}, eventually, tick)
		}
		list := query("labelSelector", "test=cbor")
		for _, target := range []string{list, "/cbor-1", query("labelSelector", "nobody=has-this")} {
			want := ask(t, config, http.MethodGet, k.viewPath()+target, "", "")
			got := ask(t, config, http.MethodGet, k.viewPath()+target, runtime.ContentTypeCBOR, "")
			require.Equal(t, runtime.ContentTypeCBOR, mediaType(t, got), "%s", got.Body)
			if diff := cmp.Diff(asNative(t, want), asNative(t, got)); diff != "" {
				t.Errorf("%s (-json +cbor):\n%s", target, diff)
			}
			native := ask(t, system.AdminConfig(t), http.MethodGet, k.nativePath()+target, "", "")
			if diff := cmp.Diff(asNative(t, native), asNative(t, got)); diff != "" {
				t.Errorf("%s (-native json +cbor):\n%s", target, diff)
			}
		}
		absent := ask(t, config, http.MethodGet, k.viewPath()+"/absent", runtime.ContentTypeCBOR, "")
		assert.Equal(t, runtime.ContentTypeCBOR, mediaType(t, absent))
		assert.Equal(t, k.failureOf(t, ask(t, config, http.MethodGet, k.viewPath()+"/absent", "", "")).Status, k.failureOf(t, absent).Status)
	})
}

func mediaType(t *testing.T, a answer) string {
	t.Helper()
	mediaType, _, err := mime.ParseMediaType(a.ContentType)
	require.NoError(t, err)
	return mediaType
}

// TestCBORIsRefused holds that without the gate CBOR is refused as natively.
func TestCBORIsRefused(t *testing.T) {
	t.Parallel()
	forEveryKind(t, func(t *testing.T, k kind) {
		k.compareFailures(t, map[string]string{"list": "", "absent": "/absent", "watch": query("watch", "1", "timeoutSeconds", "1")},
			map[string]string{"cbor": runtime.ContentTypeCBOR, "stream": "application/cbor-seq"})
	})
}
