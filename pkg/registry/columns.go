// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TenantLabel names the tenant of a namespace or a volume.
const TenantLabel = "capsule.clastix.io/tenant"

var (
	nameColumn   = metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
	ageColumn    = metav1.TableColumnDefinition{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}
	tenantColumn = metav1.TableColumnDefinition{Name: "Tenant", Type: "string", Description: "The tenant that the label " + TenantLabel + " names"}
)

func age(object metav1.Object) string {
	return metatable.ConvertToHumanReadableDateType(object.GetCreationTimestamp())
}

func tenant(object metav1.Object) string { return object.GetLabels()[TenantLabel] }

// tables converts objects and lists of one kind to tables; it is a
// rest.TableConvertor.
type tables struct {
	resource schema.GroupResource
	columns  []metav1.TableColumnDefinition
	cells    func(runtime.Object) ([]any, error)
}

// ConvertToTable returns the table of a list or an object. The object may be the
// empty one of a bookmark.
func (t tables) ConvertToTable(_ context.Context, object, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if opts, ok := options.(*metav1.TableOptions); !ok || opts == nil || !opts.NoHeaders {
		table.ColumnDefinitions = t.columns
	}
	if list, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
	} else if one, err := meta.CommonAccessor(object); err == nil {
		table.ResourceVersion = one.GetResourceVersion()
	}
	rows, err := metatable.MetaToTableRow(object, func(object runtime.Object, _ metav1.Object, _, _ string) ([]any, error) {
		return t.cells(object)
	})
	if err != nil {
		return nil, err
	}
	table.Rows = rows
	return table, nil
}
