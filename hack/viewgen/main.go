// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// The viewgen command writes what follows from the types of the view kinds: their
// registration with a scheme, the proof that they convert to their native kinds,
// and the protobuf methods, which delegate to those of the native kinds.
//
//	viewgen apis/tenancy/v1alpha1
//
// A kind names its native one by a marker above its type, and has a list of its
// name and "List"; a type without the marker is registered and nothing else:
//
//	// +tenancy:view=k8s.io/api/core/v1.Namespace
package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

const (
	output       = "zz_generated.view.go"
	nativeMarker = "// +tenancy:view="
	objectMarker = "// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object"
)

//go:embed view.go.tmpl
var text string

// generated is what the template is given.
type generated struct {
	Package string
	// Objects are the types to register.
	Objects []string
	// Imports are the paths of the native packages by their aliases.
	Imports map[string]string
	Views   []viewType
}

// viewType is a kind with a native one.
type viewType struct {
	Kind, Alias, Native string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "viewgen: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("the directory of the types is the one argument")
	}
	g, err := read(args[0])
	if err != nil {
		return err
	}
	var source bytes.Buffer
	if err := template.Must(template.New(output).Parse(text)).Execute(&source, g); err != nil {
		return fmt.Errorf("execute template: %w", err)
	}
	formatted, err := format.Source(source.Bytes())
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	return os.WriteFile(filepath.Join(args[0], output), formatted, 0o644) //nolint:gosec // source code is for everybody to read
}

// read returns what the types in the directory say.
func read(dir string) (*generated, error) {
	files, err := filepath.Glob(filepath.Join(dir, "types_*.go"))
	if err != nil {
		return nil, fmt.Errorf("find types: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no types_*.go in %s", dir)
	}
	g := &generated{Imports: map[string]string{}}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse types: %w", err)
		}
		g.Package = parsed.Name.Name
		if err := g.readFile(parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	slices.Sort(g.Objects)
	slices.SortFunc(g.Views, func(a, b viewType) int { return cmp.Compare(a.Kind, b.Kind) })
	return g, nil
}

// readFile adds the types of a file. A marker may be separated from the comment of
// its type by an empty line, so each belongs to the first type that follows.
// Comments behind the last type belong to none.
func (g *generated) readFile(file *ast.File) error {
	comments := file.Comments
	for _, declaration := range file.Decls {
		types, ok := declaration.(*ast.GenDecl)
		if !ok || types.Tok != token.TYPE {
			continue
		}
		if types.Lparen.IsValid() {
			return errors.New("types in parentheses are not read: declare each on its own")
		}
		name := types.Specs[0].(*ast.TypeSpec).Name.Name
		for len(comments) > 0 && comments[0].Pos() < types.Pos() {
			for _, line := range comments[0].List {
				if err := g.readMarker(name, line.Text); err != nil {
					return err
				}
			}
			comments = comments[1:]
		}
	}
	return nil
}

func (g *generated) readMarker(kind, line string) error {
	if line == objectMarker {
		g.Objects = append(g.Objects, kind)
	}
	native, marked := strings.CutPrefix(line, nativeMarker)
	if !marked {
		return nil
	}
	dot := strings.LastIndex(native, ".")
	if dot <= strings.LastIndex(native, "/") {
		return fmt.Errorf("%s of %s: want a package and a type, as k8s.io/api/core/v1.Namespace", line, kind)
	}
	pkg, nativeKind := native[:dot], native[dot+1:]
	alias := path.Base(path.Dir(pkg)) + path.Base(pkg)
	if other, taken := g.Imports[alias]; taken && other != pkg {
		return fmt.Errorf("%s of %s: both %s and %s would be imported as %s", line, kind, other, pkg, alias)
	}
	g.Imports[alias] = pkg
	g.Views = append(g.Views, viewType{Kind: kind, Alias: alias, Native: nativeKind})
	return nil
}
