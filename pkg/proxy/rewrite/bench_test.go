// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// BenchmarkJSON rewrites what a user who sees a hundred namespaces is answered.
func BenchmarkJSON(b *testing.B) {
	const metadata = `"metadata":{"name":"capsule-%03d","uid":"2b6f0ba8-9a9c-4f5a-8a51-6a3b2c0d9%[1]03d","resourceVersion":"4711","creationTimestamp":"2026-01-02T03:04:05Z",` +
		`"labels":{"capsule.clastix.io/tenant":"oil","kubernetes.io/metadata.name":"capsule-%[1]03d"},"annotations":{"scheduler.alpha.kubernetes.io/node-selector":"pool=oil"},` +
		`"managedFields":[{"manager":"kubectl-create","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1",` +
		`"fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:kubernetes.io/metadata.name":{}}}}}]}`
	list := `{"kind":"TenantNamespaceList","apiVersion":"tenancy.capsule.io/v1alpha1","metadata":{"resourceVersion":"4711"},"items":[` +
		repeated(100, `{`+metadata+`,"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}`) + "]}\n"
	table := `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4711"},` +
		`"columnDefinitions":[{"name":"Name","type":"string"},{"name":"Status","type":"string"},{"name":"Age","type":"string"},{"name":"Tenant","type":"string"}],"rows":[` +
		repeated(100, `{"cells":["capsule","Active","5d","oil"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",`+metadata+`}}`) + "]}\n"
	for name, given := range map[string]string{"list": list, "table": table} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(given)))
			b.ReportAllocs()
			src := strings.NewReader(given)
			for b.Loop() {
				src.Reset(given)
				// Hide that it is a strings.Reader.
				if err := JSON(namespaces, io.Discard, struct{ io.Reader }{src}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// repeated returns n objects, separated by commas with their numbers.
func repeated(n int, format string) string {
	var all bytes.Buffer
	for i := range n {
		if i > 0 {
			all.WriteByte(',')
		}
		fmt.Fprintf(&all, format, i)
	}
	return all.String()
}
