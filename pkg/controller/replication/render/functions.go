// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template"

	sprig "github.com/go-task/slim-sprig/v3"
	"sigs.k8s.io/yaml"
)

const (
	// maxCount is how many times something may be repeated, and how long a list of
	// numbers may be.
	maxCount = 4096
	// maxInserted is how long a string may be that is put into another one many times.
	maxInserted = 1024
)

// excluded are functions of sprig that give another answer each time.
var excluded = []string{"ago", "randInt", "hello"}

// wide matches what makes printf print more than its arguments.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*(?:[0-9]{4,}|\*)`)

// functions returns what templates may call.
func (r *run) functions() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	for _, name := range excluded {
		delete(all, name)
	}
	maps.Copy(all, template.FuncMap{
		// Those of text/template that make strings, to be limited like the others.
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": fmt.Sprintf,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
		// In an order that is always the same.
		"keys": sortedKeys, "values": sortedValues,
		"toYaml": toYAML, "fromYaml": fromYAML,
	})
	for name, function := range all {
		all[name] = r.limited(function, guards[name])
	}
	// As placeholders are written in values.
	all["tenant"] = func() map[string]any { return map[string]any{"name": r.names.Tenant} }
	all["namespace"] = func() string { return r.names.Namespace }
	all[stepFunction], all[printFunction] = r.step, r.print
	return all
}

var errorType = reflect.TypeFor[error]()

// limited returns a function that does what another one does, within the limits. A
// guard, if there is one, is asked first.
func (r *run) limited(function any, guard func(args []any) error) any {
	value := reflect.ValueOf(function)
	kind := value.Type()
	in := make([]reflect.Type, kind.NumIn())
	for i := range in {
		in[i] = kind.In(i)
	}
	out := kind.Out(0)
	return reflect.MakeFunc(reflect.FuncOf(in, []reflect.Type{out, errorType}, kind.IsVariadic()), func(args []reflect.Value) []reflect.Value {
		result, err := r.call(value, args, guard)
		if err != nil {
			return []reflect.Value{reflect.Zero(out), reflect.ValueOf(&err).Elem()}
		}
		return []reflect.Value{result, reflect.Zero(errorType)}
	}).Interface()
}

func (r *run) call(function reflect.Value, args []reflect.Value, guard func(args []any) error) (reflect.Value, error) {
	if _, err := r.step(); err != nil {
		return reflect.Value{}, err
	}
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg.Interface()
	}
	if err := check(values...); err != nil {
		return reflect.Value{}, err
	}
	if guard != nil {
		if err := guard(values); err != nil {
			return reflect.Value{}, err
		}
	}
	var results []reflect.Value
	if function.Type().IsVariadic() {
		results = function.CallSlice(args)
	} else {
		results = function.Call(args)
	}
	if len(results) == 2 && !results[1].IsNil() {
		err, ok := reflect.TypeAssert[error](results[1])
		if !ok {
			return reflect.Value{}, errors.New("the function failed")
		}
		return reflect.Value{}, err
	}
	return results[0], check(results[0].Interface())
}

// guards look at the arguments of functions that return more than they are given.
var guards = map[string]func(args []any) error{
	"repeat":    func(args []any) error { return atMost(integer(args[0]), len(text(args[1]))) },
	"indent":    func(args []any) error { return atMost(integer(args[0]), strings.Count(text(args[1]), "\n")+1) },
	"nindent":   func(args []any) error { return atMost(integer(args[0]), strings.Count(text(args[1]), "\n")+1) },
	"replace":   func(args []any) error { return atMost(len(text(args[1])), strings.Count(text(args[2]), text(args[0]))) },
	"join":      func(args []any) error { return atMost(len(text(args[0])), maxInserted) },
	"until":     countable,
	"untilStep": countable,
	"seq": func(args []any) error {
		numbers, _ := args[0].([]int)
		for _, n := range numbers {
			if err := countable([]any{n}); err != nil {
				return err
			}
		}
		return nil
	},
	"printf": func(args []any) error {
		if wide.MatchString(text(args[0])) {
			return errors.New("printf: a width of four digits or of an argument is not supported")
		}
		return nil
	},
	"regexMatch": searchable, "mustRegexMatch": searchable,
	"regexFindAll": searchableAll, "mustRegexFindAll": searchableAll,
	"regexFind": searchable, "mustRegexFind": searchable,
	"regexReplaceAll": searchableAll, "mustRegexReplaceAll": searchableAll,
	"regexReplaceAllLiteral": searchableAll, "mustRegexReplaceAllLiteral": searchableAll,
	"regexSplit": searchableAll, "mustRegexSplit": searchableAll,
}

// atMost returns an error if a result is larger than a value may be.
func atMost(size, times int) error {
	if size < 0 || size > maxValue || size*times > maxValue {
		return fmt.Errorf("the result would be larger than %d KiB", maxValue>>10)
	}
	return nil
}

// countable returns an error if an argument is too far from zero to be counted to.
func countable(args []any) error {
	for _, arg := range args {
		if n := integer(arg); n < -maxCount || n > maxCount {
			return fmt.Errorf("%d is more than %d", n, maxCount)
		}
	}
	return nil
}

func integer(value any) int {
	n, _ := value.(int)
	return n
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func sortedKeys(dicts ...map[string]any) []string {
	keys := []string{}
	for _, dict := range dicts {
		keys = slices.AppendSeq(keys, maps.Keys(dict))
	}
	slices.Sort(keys)
	return keys
}

func sortedValues(dict map[string]any) []any {
	values := make([]any, 0, len(dict))
	for _, key := range sortedKeys(dict) {
		values = append(values, dict[key])
	}
	return values
}

func toYAML(value any) (string, error) {
	data, err := yaml.Marshal(value)
	return strings.TrimSuffix(string(data), "\n"), err
}

func fromYAML(data string) (any, error) {
	return parseYAML([]byte(data))
}
