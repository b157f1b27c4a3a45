// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

func TestConvertToTable(t *testing.T) {
	t.Parallel()
	view := func(n *corev1.Namespace) v1alpha1.TenantNamespace { return v1alpha1.TenantNamespace(*n) }
	oil := view(namespace("oil", labeled(TenantLabel, "oil-company"), func(n *corev1.Namespace) {
		n.CreationTimestamp = metav1.NewTime(time.Now().Add(-26 * time.Hour))
	}))
	gas := view(namespace("gas", terminating))
	listMeta := metav1.ListMeta{ResourceVersion: revision, Continue: "token"}

	for name, test := range map[string]struct {
		object, options runtime.Object
		columns         []string
		meta            metav1.ListMeta
		cells           [][]any
	}{
		"a list": {
			object:  &v1alpha1.TenantNamespaceList{ListMeta: listMeta, Items: []v1alpha1.TenantNamespace{gas, oil}},
			options: &metav1.TableOptions{},
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    listMeta,
			cells:   [][]any{{"gas", "Terminating", "<unknown>", ""}, {"oil", "Active", "26h", "oil-company"}},
		},
		"a list without headers": {
			object:  &v1alpha1.TenantNamespaceList{ListMeta: listMeta, Items: []v1alpha1.TenantNamespace{gas}},
			options: &metav1.TableOptions{NoHeaders: true},
			meta:    listMeta,
			cells:   [][]any{{"gas", "Terminating", "<unknown>", ""}},
		},
		"an empty list": {
			object:  &v1alpha1.TenantNamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: revision}},
			options: &metav1.TableOptions{},
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    metav1.ListMeta{ResourceVersion: revision},
		},
		"an object": {
			object:  &oil,
			options: &metav1.TableOptions{},
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    metav1.ListMeta{ResourceVersion: "42"},
			cells:   [][]any{{"oil", "Active", "26h", "oil-company"}},
		},
		"no options": {
			object:  &gas,
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    metav1.ListMeta{ResourceVersion: "42"},
			cells:   [][]any{{"gas", "Terminating", "<unknown>", ""}},
		},
		"options that are nil": {
			object:  &gas,
			options: (*metav1.TableOptions)(nil),
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    metav1.ListMeta{ResourceVersion: "42"},
			cells:   [][]any{{"gas", "Terminating", "<unknown>", ""}},
		},
		"a bookmark": {
			object:  &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "50"}},
			options: &metav1.TableOptions{},
			columns: []string{"Name", "Status", "Age", "Tenant"},
			meta:    metav1.ListMeta{ResourceVersion: "50"},
			cells:   [][]any{{"", "", "<unknown>", ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newReader(t, nil).ConvertToTable(t.Context(), test.object, test.options)
			require.NoError(t, err)
			var columns []string
			for _, column := range got.ColumnDefinitions {
				columns = append(columns, column.Name)
			}
			var cells [][]any
			for _, row := range got.Rows {
				cells = append(cells, row.Cells)
				assert.NotNil(t, row.Object.Object, "what a client asks for by includeObject")
			}
			if diff := cmp.Diff(test.columns, columns); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.meta, got.ListMeta); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.cells, cells); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
			assert.NotNil(t, got.Rows, "rows are [] and not null")
		})
	}
}

// TestColumns holds the columns to those of k8s.io/kubernetes
// pkg/printers/internalversion, and Tenant.
func TestColumns(t *testing.T) {
	t.Parallel()
	descriptions := metav1.ObjectMeta{}.SwaggerDoc()
	got, err := newReader(t, nil).ConvertToTable(t.Context(), &v1alpha1.TenantNamespaceList{}, &metav1.TableOptions{})
	require.NoError(t, err)
	want := []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: descriptions["name"]},
		{Name: "Status", Type: "string", Description: "The status of the namespace"},
		{Name: "Age", Type: "string", Description: descriptions["creationTimestamp"]},
		{Name: "Tenant", Type: "string", Description: "The tenant that the label capsule.clastix.io/tenant names"},
	}
	if diff := cmp.Diff(want, got.ColumnDefinitions); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	assert.NotEmpty(t, want[0].Description)
	assert.NotEmpty(t, want[2].Description)
}

func TestNoTable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		object runtime.Object
		want   string
	}{
		"the native kind":         {&corev1.Namespace{}, "no columns for *v1.Namespace in a table of tenantnamespaces"},
		"a list of another kind":  {&corev1.NodeList{Items: make([]corev1.Node, 1)}, "no columns for *v1.Node in a table of tenantnamespaces"},
		"something without names": {&metav1.Status{}, "object does not implement the Object interfaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newReader(t, nil).ConvertToTable(t.Context(), test.object, &metav1.TableOptions{})
			assert.Nil(t, got)
			assert.ErrorContains(t, err, test.want)
		})
	}
}
