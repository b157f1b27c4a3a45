// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"errors"
	"fmt"
	"text/template"
	"text/template/parse"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// maxTemplate is how long a template may be, in bytes.
	maxTemplate = 128 << 10
	// maxOutput is how much a template may print: no object of an API server is
	// larger.
	maxOutput = 1 << 20
	// maxSteps is how many turns of loops and calls there may be.
	maxSteps = 50_000
	// maxTime is how long a template may run.
	maxTime = time.Second
	// generatorSize is what a parsed template needs besides its text, most of it for
	// the functions, and nodeSize what it needs for each byte of its text.
	generatorSize, nodeSize = 64 << 10, 64
)

// Names of functions that are put into every template.
const (
	stepFunction  = "__step"
	printFunction = "__print"
)

// MissingKey is what a template does about a key that is not there.
type MissingKey string

// What a template does about a key that is not there: it prints "<no value>", nothing,
// or fails.
const (
	Invalid MissingKey = "invalid"
	Zero    MissingKey = "zero"
	Error   MissingKey = "error"
)

// Generator is a template that makes objects. It must not be used concurrently.
type Generator struct {
	template *template.Template
	run      *run
}

// run is one execution of a template, and its limits.
type run struct {
	budget   *Budget
	names    Names
	missing  MissingKey
	steps    int
	deadline time.Time
}

// NewGenerator parses a template. What it needs, and what its executions take, is
// taken from the budget.
func NewGenerator(text string, missing MissingKey, budget *Budget) (*Generator, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the template is longer than %d KiB", maxTemplate>>10)
	}
	if err := budget.KeepBytes(generatorSize + nodeSize*len(text)); err != nil {
		return nil, err
	}
	r := &run{budget: budget, missing: missing}
	parsed, err := template.New("template").Option("missingkey=" + string(missing)).Funcs(r.functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	if err := checkNesting(parsed); err != nil {
		return nil, err
	}
	for _, t := range parsed.Templates() {
		if t.Tree != nil {
			limit(t.Root)
		}
	}
	return &Generator{template: parsed, run: r}, nil
}

// Objects executes the template and returns the objects that it printed as YAML. The
// data is copied first. It must be JSON: nil, booleans, int64, float64, strings, []any
// and map[string]any.
func (g *Generator) Objects(names Names, data map[string]any) ([]map[string]any, error) {
	budget := g.run.budget
	if err := budget.Check(); err != nil {
		return nil, err
	}
	g.run.names, g.run.steps, g.run.deadline = names, 0, budget.clock.Now().Add(maxTime)
	if budget.deadline.Before(g.run.deadline) {
		g.run.deadline = budget.deadline
	}
	var output limitedBuffer
	if err := g.template.Execute(&output, runtime.DeepCopyJSON(data)); err != nil {
		return nil, err
	}
	objects, err := documents(output.Bytes())
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if err := budget.Keep(object); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// step counts a turn of a loop or a call.
func (r *run) step() (string, error) {
	if r.steps++; r.steps > maxSteps {
		return "", fmt.Errorf("the template takes more than %d steps", maxSteps)
	}
	if r.budget.clock.Now().After(r.deadline) {
		return "", errors.New("the template takes too long")
	}
	return "", nil
}

// print is what everything that is printed goes through.
func (r *run) print(value any) (any, error) {
	if value == nil && r.missing != Invalid {
		return "", nil
	}
	if value == nil {
		return "<no value>", nil
	}
	if err := check(value); err != nil {
		return nil, err
	}
	return value, nil
}

// limit puts the limits into a parsed template: a step at its beginning and at the
// beginning of each loop's body, and the check of what is printed.
func limit(root *parse.ListNode) {
	prepend(root)
	limitList(root)
}

func limitList(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.ActionNode:
			// A pipeline that declares something prints nothing.
			if len(node.Pipe.Decl) == 0 {
				node.Pipe.Cmds = append(node.Pipe.Cmds, command(printFunction, node.Pos))
			}
		case *parse.IfNode:
			limitList(node.List)
			limitList(node.ElseList)
		case *parse.WithNode:
			limitList(node.List)
			limitList(node.ElseList)
		case *parse.RangeNode:
			prepend(node.List)
			limitList(node.List)
			limitList(node.ElseList)
		}
	}
}

// prepend puts a step at the beginning of a list.
func prepend(list *parse.ListNode) {
	list.Nodes = append([]parse.Node{&parse.ActionNode{NodeType: parse.NodeAction, Pos: list.Pos, Pipe: &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: list.Pos, Cmds: []*parse.CommandNode{command(stepFunction, list.Pos)},
	}}}, list.Nodes...)
}

func command(function string, pos parse.Pos) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{parse.NewIdentifier(function).SetPos(pos)}}
}

// limitedBuffer refuses to grow beyond maxOutput.
type limitedBuffer struct {
	bytes.Buffer
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("the template prints more than %d KiB", maxOutput>>10)
	}
	return b.Buffer.Write(p)
}
