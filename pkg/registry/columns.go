// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
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

// What cells hold where there is no value.
const (
	none    = "<none>"
	unknown = "<unknown>"
	unset   = "<unset>"
)

func orNone(value string) string    { return cmp.Or(value, none) }
func orUnknown(value string) string { return cmp.Or(value, unknown) }

// classNameCell returns the name of a class, and that it is the default one if an
// annotation says so.
func classNameCell(class metav1.Object, defaultAnnotations ...string) string {
	for _, annotation := range defaultAnnotations {
		if class.GetAnnotations()[annotation] == "true" {
			return class.GetName() + " (default)"
		}
	}
	return class.GetName()
}

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

// customColumns are the columns of a custom resource.
type customColumns struct {
	columns   []metav1.TableColumnDefinition
	convertor rest.TableConvertor
}

// mustCustomColumns returns the columns that the API server makes of those of a
// CustomResourceDefinition. It panics if a path is malformed.
func mustCustomColumns(definitions []apiextensionsv1.CustomResourceColumnDefinition) customColumns {
	convertor, err := tableconvertor.New(definitions)
	utilruntime.Must(err)
	headers, err := convertor.ConvertToTable(context.Background(), &metav1.PartialObjectMetadataList{}, nil)
	utilruntime.Must(err)
	return customColumns{columns: headers.ColumnDefinitions, convertor: convertor}
}

// cells returns the cells of one object.
func (c customColumns) cells(object runtime.Object) ([]any, error) {
	table, err := c.convertor.ConvertToTable(context.Background(), object, &metav1.TableOptions{NoHeaders: true})
	if err != nil {
		return nil, err
	}
	return table.Rows[0].Cells, nil
}
