// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"text/template"
	"text/template/parse"
)

const (
	// maxDepth is how many blocks, or parentheses, of a template may be in each
	// other.
	maxDepth = 50
	// maxCallDepth is how many of them there may be along calls of templates by
	// templates, together with these.
	maxCallDepth = 100
)

// nesting says how deep the templates are that were defined together. text/template
// calls itself for each block and call, and a stack that overflows ends the process:
// no panic can be caught.
type nesting struct {
	templates *template.Template
	// depths are those of templates that were looked at, and begun those that are
	// being looked at.
	depths map[string]int
	begun  map[string]bool
}

// checkNesting returns an error if templates call themselves, or are too deep.
func checkNesting(templates *template.Template) error {
	n := &nesting{templates: templates, depths: map[string]int{}, begun: map[string]bool{}}
	var names []string
	for _, t := range templates.Templates() {
		names = append(names, t.Name())
	}
	// In an order that is always the same, so that the error is.
	slices.Sort(names)
	for _, name := range names {
		if _, err := n.template(name); err != nil {
			return err
		}
	}
	return nil
}

// template returns how deep a template is, with all that it calls.
func (n *nesting) template(name string) (int, error) {
	if depth, ok := n.depths[name]; ok {
		return depth, nil
	}
	called := n.templates.Lookup(name)
	if called == nil || called.Tree == nil {
		return 0, nil
	}
	if n.begun[name] {
		return 0, fmt.Errorf("the template %q calls itself", name)
	}
	n.begun[name] = true
	depth, err := n.list(called.Root, 0)
	if err == nil && depth > maxCallDepth {
		err = fmt.Errorf("the template %q is more than %d blocks and calls deep", name, maxCallDepth)
	}
	n.depths[name] = depth
	return depth, err
}

// list returns how deep a list of nodes is that is in so many blocks.
func (n *nesting) list(list *parse.ListNode, blocks int) (int, error) {
	if blocks > maxDepth {
		return 0, fmt.Errorf("more than %d blocks are in each other", maxDepth)
	}
	deepest := 0
	if list == nil {
		return deepest, nil
	}
	for _, node := range list.Nodes {
		depth, err := n.node(node, blocks)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, depth)
	}
	return deepest, nil
}

func (n *nesting) node(node parse.Node, blocks int) (int, error) {
	switch node := node.(type) {
	case *parse.ActionNode:
		return 0, checkPipe(node.Pipe, 0)
	case *parse.IfNode:
		return n.branch(&node.BranchNode, blocks)
	case *parse.WithNode:
		return n.branch(&node.BranchNode, blocks)
	case *parse.RangeNode:
		return n.branch(&node.BranchNode, blocks)
	case *parse.TemplateNode:
		if err := checkPipe(node.Pipe, 0); err != nil {
			return 0, err
		}
		depth, err := n.template(node.Name)
		return depth + 1, err
	}
	return 0, nil
}

func (n *nesting) branch(branch *parse.BranchNode, blocks int) (int, error) {
	if err := checkPipe(branch.Pipe, 0); err != nil {
		return 0, err
	}
	one, err := n.list(branch.List, blocks+1)
	if err != nil {
		return 0, err
	}
	other, err := n.list(branch.ElseList, blocks+1)
	return max(one, other) + 1, err
}

// checkPipe returns an error if a node of a pipeline that is in so many parentheses is
// too deep.
func checkPipe(node parse.Node, parentheses int) error {
	if parentheses > maxDepth {
		return fmt.Errorf("more than %d parentheses are in each other", maxDepth)
	}
	switch node := node.(type) {
	case *parse.PipeNode:
		if node == nil {
			return nil
		}
		for _, command := range node.Cmds {
			for _, arg := range command.Args {
				if err := checkPipe(arg, parentheses+1); err != nil {
					return err
				}
			}
		}
	case *parse.ChainNode:
		return checkPipe(node.Node, parentheses)
	}
	return nil
}
