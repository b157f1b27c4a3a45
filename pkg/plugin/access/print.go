// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// Formats are what Print knows, beside the empty one of a table.
const (
	FormatWide = "wide"
	FormatName = "name"
	FormatJSON = "json"
	FormatYAML = "yaml"
)

const (
	// maxNames is how long the names in a table may be, unless it is wide.
	maxNames = 48
	// nobody is the tenant of what belongs to no one tenant.
	nobody = "<none>"
)

// Print prints it in a format. Headers are a table's.
func (a *Access) Print(w io.Writer, format string, headers bool) error {
	var data []byte
	var err error
	switch format {
	case "", FormatWide:
		return a.printTable(w, printers.PrintOptions{NoHeaders: !headers, Wide: format == FormatWide})
	case FormatName:
		var names strings.Builder
		for i := range a.Items {
			for _, name := range a.Items[i].Names {
				_, _ = fmt.Fprintf(&names, "%s/%s\n", a.Items[i].kubectlName(), name)
			}
		}
		data = []byte(names.String())
	case FormatJSON:
		data, err = json.MarshalIndent(a, "", "    ")
		data = append(data, '\n')
	case FormatYAML:
		data, err = yaml.Marshal(a)
	default:
		return fmt.Errorf("unknown format %q", format)
	}
	if err != nil {
		return fmt.Errorf("encode access: %w", err)
	}
	_, err = w.Write(data)
	return err
}

// kubectlName is how kubectl names the kind, in what it prints and takes.
func (i *Item) kubectlName() string {
	name := strings.ToLower(i.Kind)
	if i.Group != "" {
		name += "." + i.Group
	}
	return name
}

func (a *Access) printTable(w io.Writer, options printers.PrintOptions) error {
	table := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Tenant", Type: "string"},
		{Name: "Resource", Type: "string"},
		{Name: "Verbs", Type: "string"},
		{Name: "Count", Type: "integer"},
		{Name: "View", Type: "string", Priority: 1},
		{Name: "Names", Type: "string"},
	}}
	for i := range a.Items {
		item := &a.Items[i]
		names := strings.Join(item.Names, ",")
		if !options.Wide {
			names = shortened(item.Names)
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{
			cmp.Or(item.Tenant, nobody), item.Resource, strings.Join(item.Verbs, ","), len(item.Names), item.View, names,
		}})
	}
	tabbed := printers.GetNewTabWriter(w)
	if err := printers.NewTablePrinter(options).PrintObj(table, tabbed); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return tabbed.Flush()
}

// shortened returns as many names as have room, one at least, and says how many have not.
func shortened(names []string) string {
	joined := names[0]
	for i, name := range names[1:] {
		if len(joined)+1+len(name) > maxNames {
			return fmt.Sprintf("%s + %d more...", joined, len(names)-1-i)
		}
		joined += "," + name
	}
	return joined
}
