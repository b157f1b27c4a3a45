// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCollector(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, err := Register(registry)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Register(registry); err != nil || again != c {
		t.Errorf("want the same one again, got %p, %v", again, err)
	}
	check := func(step, want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	c.Set("oil", "a", []Resource{{Name: "namespaces", Used: 2, Limit: new(3.0)}})
	c.Set("oil", "b", []Resource{{Name: "pods", Index: "0", Used: 5}})
	c.Set("gas", "a", []Resource{{Name: "namespaces", Used: 1}})
	check("set", `
# HELP capsule_tenant_resource_limit How much of a resource a tenant may use.
# TYPE capsule_tenant_resource_limit gauge
capsule_tenant_resource_limit{resource="namespaces",resourcequotaindex="",tenant="oil"} 3
# HELP capsule_tenant_resource_usage How much of a limited resource a tenant uses.
# TYPE capsule_tenant_resource_usage gauge
capsule_tenant_resource_usage{resource="namespaces",resourcequotaindex="",tenant="gas"} 1
capsule_tenant_resource_usage{resource="namespaces",resourcequotaindex="",tenant="oil"} 2
capsule_tenant_resource_usage{resource="pods",resourcequotaindex="0",tenant="oil"} 5
`)
	c.Set("oil", "a", nil)
	c.Set("gas", "a", nil)
	check("taken back", `
# HELP capsule_tenant_resource_usage How much of a limited resource a tenant uses.
# TYPE capsule_tenant_resource_usage gauge
capsule_tenant_resource_usage{resource="pods",resourcequotaindex="0",tenant="oil"} 5
`)
}
