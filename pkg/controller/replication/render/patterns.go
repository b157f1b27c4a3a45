// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"regexp/syntax"
)

const (
	// maxPattern and maxSearched bound what a regular expression is and what it is
	// looked for in.
	maxPattern, maxSearched = 128, 16 << 10
	// maxSearchSteps is how many steps a search may take: a search cannot be
	// interrupted, and may take every instruction of the expression for every byte.
	maxSearchSteps = 1 << 25
)

// searchable returns an error if a regular expression, what it is looked for in, or
// what replaces it is too long, or the search may take too long.
func searchable(args []any) error { return searchableOnce(args, 1) }

// searchableAll is the same for a search for all matches: after each it begins anew,
// and may look at all of the rest each time.
func searchableAll(args []any) error { return searchableOnce(args, len(text(args[1]))+1) }

func searchableOnce(args []any, searches int) error {
	pattern, in := text(args[0]), text(args[1])
	if len(pattern) > maxPattern {
		return fmt.Errorf("a regular expression is longer than %d bytes", maxPattern)
	}
	if len(in) > maxSearched {
		return fmt.Errorf("what a regular expression is looked for in is longer than %d KiB", maxSearched>>10)
	}
	if len(args) > 2 && len(text(args[2])) > maxInserted {
		return fmt.Errorf("what replaces a regular expression is longer than %d bytes", maxInserted)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return fmt.Errorf("parse regular expression: %w", err)
	}
	// A short expression may be a long program: repetitions are written out.
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Errorf("compile regular expression: %w", err)
	}
	if len(program.Inst)*(len(in)+1)*searches > maxSearchSteps {
		return fmt.Errorf("to look for the regular expression %q in %d bytes may take too long", pattern, len(in))
	}
	return nil
}
