// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

type object = map[string]any

func TestString(t *testing.T) {
	all := Names{Tenant: "oil", Namespace: "oil-prod"}
	for name, test := range map[string]struct {
		given, want string
		names       Names
		wantError   string
	}{
		"nothing":            {given: "a {b} c", want: "a {b} c"},
		"the whole value":    {given: "{{ tenant.name }}", names: all, want: "oil"},
		"within a value":     {given: "a-{{tenant.name}}-{{ namespace}}.b", names: all, want: "a-oil-oil-prod.b"},
		"not twice":          {given: "{{namespace}}", names: Names{Namespace: "{{tenant.name}}"}, want: "{{tenant.name}}"},
		"other braces":       {given: "{{ .Values.x }} {{tenant}} {{ namespaces }}", names: all, want: "{{ .Values.x }} {{tenant}} {{ namespaces }}"},
		"no namespace":       {given: "{{ namespace }}", names: Names{Tenant: "oil"}, wantError: "{{ namespace }} stands for nothing in this scope"},
		"no tenant":          {given: "{{tenant.name}}", wantError: "{{ tenant.name }} stands for nothing in this scope"},
		"neither of the two": {given: "{{tenant.name}}{{namespace}}", wantError: "{{ tenant.name }} stands for nothing in this scope\n{{ namespace }} stands for nothing in this scope"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := String(test.given, test.names)
			if test.wantError != "" {
				if err == nil || err.Error() != test.wantError {
					t.Errorf("want error %q, got %v", test.wantError, err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("want %q, got %q, %v", test.want, got, err)
			}
		})
	}
}

func TestValue(t *testing.T) {
	names := Names{Tenant: "oil", Namespace: "oil-prod"}
	given := object{
		"a": "{{ tenant.name }}", "n": int64(1), "nil": nil, "{{namespace}}": "key",
		"list": []any{"x", object{"b": "{{namespace}}"}, []any{"{{namespace}}"}},
		"same": object{"c": []any{"x"}},
	}
	before := runtime.DeepCopyJSON(given)
	got, size, err := Value(given, names)
	if err != nil {
		t.Fatal(err)
	}
	want := object{
		"a": "oil", "n": int64(1), "nil": nil, "{{namespace}}": "key",
		"list": []any{"x", object{"b": "oil-prod"}, []any{"oil-prod"}},
		"same": object{"c": []any{"x"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		t.Errorf("what was given (-want +got):\n%s", diff)
	}
	// Two maps and two lists, one of them in the other, are its own.
	if want := len("oil") + 2*len("oil-prod") + elementSize*(len(given)+3+1+1); size != want {
		t.Errorf("size: want %d, got %d", want, size)
	}
	for _, given := range []any{object{"a": "{{namespace}}"}, []any{object{"a": "{{namespace}}"}}} {
		if _, _, err := Value(given, Names{}); err == nil {
			t.Errorf("%v: want an error", given)
		}
	}
}

func generate(template string, missing MissingKey, c clock.PassiveClock, data object) ([]object, error) {
	g, err := NewGenerator(template, missing, NewBudget(c, time.Minute, 64<<20))
	if err != nil {
		return nil, err
	}
	return g.Objects(Names{Tenant: "oil", Namespace: "oil-prod"}, data)
}

func TestGenerator(t *testing.T) {
	data := object{
		"tenant": object{"metadata": object{"name": "oil", "labels": object{"b": "2", "a": "1"}}},
		"apps":   []any{object{"name": "one", "replicas": int64(1)}, object{"name": "two", "replicas": int64(2)}},
	}
	for name, test := range map[string]struct {
		given     string
		missing   MissingKey
		want      []object
		wantError string
	}{
		"nothing":              {given: "  \n---\n# a comment\n---\n"},
		"several documents":    {given: "{{ range .apps }}\n---\nk: {{ .name }}\nr: {{ .replicas }}\n{{ end }}", want: []object{{"k": "one", "r": int64(1)}, {"k": "two", "r": int64(2)}}},
		"JSON":                 {given: `{{ dict "a" (list 1 2) | toJson }}`, want: []object{{"a": []any{int64(1), int64(2)}}}},
		"placeholders":         {given: "a: {{ tenant.name }}\nb: {{ namespace | upper }}", want: []object{{"a": "oil", "b": "OIL-PROD"}}},
		"functions of sprig":   {given: `a: {{ "x y" | splitList " " | join "-" | quote }}`, want: []object{{"a": "x-y"}}},
		"YAML within":          {given: "a:\n{{ toYaml .tenant.metadata.labels | indent 2 }}\nb: {{ (fromYaml \"x: 1\").x }}", want: []object{{"a": object{"a": "1", "b": "2"}, "b": int64(1)}}},
		"keys in order":        {given: `a: [{{ join "," (keys .tenant.metadata.labels) }}, {{ join "," (values .tenant.metadata.labels) }}]`, want: []object{{"a": []any{"a", "b", int64(1), int64(2)}}}},
		"a dict that changes":  {given: `{{ $d := dict }}{{ $_ := set $d "a" 1 }}a: {{ $d.a }}`, want: []object{{"a": int64(1)}}},
		"variables in a loop":  {given: `{{ $n := 0 }}{{ range .apps }}{{ $n = add $n .replicas }}{{ end }}k: {{ $n }}`, want: []object{{"k": int64(3)}}},
		"conditions":           {given: `a: {{ if .no }}1{{ else if .apps }}2{{ end }}{{ with .no }}{{ else }}3{{ end }}`, want: []object{{"a": int64(23)}}},
		"templates of its own": {given: `{{ define "n" }}{{ .name }}{{ end }}a: {{ template "n" index .apps 0 }}`, want: []object{{"a": "one"}}},
		"missing, zero":        {given: "a: {{ .no }}", missing: Zero, want: []object{{"a": nil}}},
		"missing, invalid":     {given: "a: {{ .no }}", missing: Invalid, want: []object{{"a": "<no value>"}}},
		"missing, error":       {given: "a: {{ .no }}", missing: Error, wantError: `map has no entry for key "no"`},
		"no template":          {given: "{{ if }}", wantError: "missing value for if"},
		"no YAML":              {given: "a: [", wantError: "parse document 1"},
		"no object":            {given: "a: 1\n---\n- 1", wantError: "document 2 is no object"},
		"it fails":             {given: `{{ fail "so" }}`, wantError: "so"},
		"a function panics":    {given: `{{ div 1 0 }}`, wantError: "divide by zero"},
		// What depends on more than the data.
		"environment":  {given: `{{ env "HOME" }}`, wantError: `function "env" not defined`},
		"expandenv":    {given: `{{ expandenv "$HOME" }}`, wantError: `function "expandenv" not defined`},
		"network":      {given: `{{ getHostByName "x" }}`, wantError: `function "getHostByName" not defined`},
		"clock":        {given: `{{ now }}`, wantError: `function "now" not defined`},
		"age":          {given: `{{ ago 1 }}`, wantError: `function "ago" not defined`},
		"chance":       {given: `{{ randInt 1 2 }}`, wantError: `function "randInt" not defined`},
		"random words": {given: `{{ randAlpha 3 }}`, wantError: `function "randAlpha" not defined`},
		"UUIDs":        {given: `{{ uuidv4 }}`, wantError: `function "uuidv4" not defined`},
		"other files":  {given: `{{ template "/etc/passwd" }}`, wantError: `template "/etc/passwd" not defined`},
	} {
		t.Run(name, func(t *testing.T) {
			missing := test.missing
			if missing == "" {
				missing = Zero
			}
			before := runtime.DeepCopyJSON(data)
			got, err := generate(test.given, missing, clock.RealClock{}, data)
			if test.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantError) {
					t.Fatalf("want error %q, got %v", test.wantError, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, data); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

// hostile are templates that would take all memory or time that there is.
var hostile = map[string]string{
	"a loop":                 `{{ range 9223372036854775807 }}{{ end }}`,
	"loops in a loop":        `{{ range 1000000 }}{{ range 1000000 }}{{ end }}{{ end }}`,
	"a template in itself":   `{{ define "x" }}{{ template "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`,
	"output":                 `{{ range 4000 }}{{ repeat 1000 "a" }}{{ end }}`,
	"a string that doubles":  `{{ $x := "a" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}`,
	"a list that doubles":    `{{ $x := list 1 }}{{ range 60 }}{{ $x = concat $x $x }}{{ end }}`,
	"a list of itself twice": `{{ $x := list 1 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}`,
	"a dict in itself":       `{{ $x := dict }}{{ $_ := set $x "x" $x }}{{ $x }}`,
	"a dict that grows behind": `{{ $x := dict }}{{ $l := list $x $x $x $x $x $x $x $x }}{{ $l = list $l $l $l $l $l $l $l $l }}` +
		`{{ $_ := set $x "x" (repeat 100000 "a") }}{{ $l }}`,
	"repeat":                         `{{ repeat 2000000000 "a" }}`,
	"repeat, negative":               `{{ repeat -1 "a" }}`,
	"indent":                         `{{ indent 2000000000 "a" }}`,
	"nindent":                        `{{ nindent 2000000000 "a" }}`,
	"replace":                        `{{ $x := repeat 100000 "a" }}{{ replace "a" $x $x }}`,
	"join":                           `{{ until 4000 | join (repeat 100000 "a") }}`,
	"until":                          `{{ until 2000000000 }}`,
	"untilStep":                      `{{ untilStep 0 2000000000 1 }}`,
	"seq":                            `{{ seq 0 1 2000000000 }}`,
	"printf":                         `{{ printf "%1000000d" 1 }}`,
	"printf, precision":              `{{ printf "%.1000000f" 1.0 }}`,
	"printf, by number":              `{{ printf "%*d" 1000000 1 }}`,
	"a pattern":                      `{{ regexMatch (repeat 200 "a") "a" }}`,
	"a text to search":               `{{ regexMatch "a" (repeat 20000 "a") }}`,
	"a replacement":                  `{{ regexReplaceAll "a" "aaa" (repeat 2000 "a") }}`,
	"many objects":                   `{{ range 1001 }}---` + "\n" + `a: 1` + "\n" + `{{ end }}`,
	"a long template":                strings.Repeat(" ", maxTemplate+1),
	"aliases within":                 "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
	"a decoded dict":                 `{{ $x := fromJson "{}" }}{{ range 60 }}{{ $x = dict "a" $x "b" $x }}{{ end }}`,
	"a joined dict":                  `{{ $x := "a" }}{{ range 60 }}{{ $x = cat $x $x | b64enc }}{{ end }}`,
	"a quoted text":                  `{{ $x := "\"" }}{{ range 60 }}{{ $x = quote $x }}{{ end }}`,
	"aliases of a text":              `a: &a "{{ repeat 20000 "a" }}"` + "\nb: [" + strings.Repeat("*a,", 4000) + "*a]",
	"aliases of a text, within":      `{{ $x := printf "a: &a %q\nb: [*a" (repeat 20000 "a") }}{{ fromYaml (print $x (repeat 4000 ",*a") "]") }}`,
	"merged keys":                    "a: &a {x: 1}\nb: {<<: *a}",
	"a template in itself, nested":   `{{ define "x" }}` + nested(2000, `{{ if true }}`, `{{ template "x" }}`, `{{ end }}`) + `{{ end }}{{ template "x" }}`,
	"templates in each other":        `{{ define "x" }}{{ if .x }}{{ template "y" . }}{{ end }}{{ end }}{{ define "y" }}{{ with .x }}{{ template "x" . }}{{ end }}{{ end }}`,
	"blocks in blocks":               nested(maxDepth+1, `{{ range .x }}`, "", `{{ end }}`),
	"as many blocks as there can be": nested(7000, `{{ if 1 }}`, "", `{{ end }}`),
	"many alternatives":              `{{ if .x }}` + strings.Repeat(`{{ else if .x }}`, maxDepth+1) + `{{ end }}`,
	"parentheses in parentheses":     `{{ ` + nested(maxDepth+1, "(", ".x", ")") + ` }}`,
	"fields of parentheses":          `{{ ` + nested(maxDepth+1, "(", ".x", ").y") + ` }}`,
	"parentheses of a loop":          `{{ range ` + nested(maxDepth+1, "(", ".x", ")") + ` }}{{ end }}`,
	"parentheses of a call":          `{{ define "x" }}{{ end }}{{ template "x" ` + nested(maxDepth+1, "(", ".x", ")") + ` }}`,
	"many parentheses":               `{{ ` + nested(10_001, "(", ".x", ")") + ` }}`,
	"templates that call a next":     chain(60, `{{ if .x }}`, `{{ end }}`),
	"a template in itself, far away": chain(60, `{{ template "t0" }}`, ``),
	"YAML in YAML":                   `a: ` + nested(maxValueDepth, "[", "", "]"),
	"YAML in YAML, read":             `{{ fromYaml "` + nested(maxValueDepth+1, "[", "", "]") + `" }}`,
	"JSON in JSON":                   `{{ fromJson "` + nested(5000, "[", "", "]") + `" | toYaml }}`,
	"a list that deepens":            `{{ $x := list }}{{ range 1000 }}{{ $x = list $x }}{{ end }}`,
	"empty lists":                    `a: [{{ range 40 }}{{ repeat 4000 "[]," }}{{ end }}{{ repeat 30000 "[]," }}{{ repeat 30000 "[]," }}{{ repeat 30000 "[]," }}]`,
	"a pattern that repeats":         `a: {{ regexMatch "` + strings.Repeat("(.?){1000}", 11) + `b" (repeat 16000 "a") }}`,
	"all matches of a pattern":       `a: {{ regexFindAll "a.*b|a" (repeat 4000 "a") -1 | toJson }}`,
	"a template by name":             `{{ define "x" }}{{ range 1000 }}{{ template "y" }}{{ end }}{{ end }}{{ define "y" }}{{ range 1000 }}{{ end }}{{ end }}{{ template "x" }}`,
}

// nested returns something with an opening before and a closing after it, many times.
func nested(times int, opening, within, closing string) string {
	return strings.Repeat(opening, times) + within + strings.Repeat(closing, times)
}

// chain returns templates each of which calls the next one.
func chain(length int, opening, closing string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{{ define "t%d" }}{{ end }}`, length)
	for i := range length {
		fmt.Fprintf(&b, `{{ define "t%d" }}%s{{ template "t%d" . }}%s{{ end }}`, i, opening, i+1, closing)
	}
	return b.String() + `{{ template "t0" . }}`
}

func TestHostileTemplatesEnd(t *testing.T) {
	for name, template := range hostile {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := generate(template, Zero, clock.RealClock{}, object{})
			if err == nil || strings.HasSuffix(err.Error(), "is no object") {
				t.Errorf("want it to be stopped, got %v", err)
			}
			// Several times what is allowed, for busy machines.
			if took := time.Since(start); took > 10*maxTime {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// ticking is a clock that goes on by a millisecond each time it is looked at.
type ticking struct{ *clocktesting.FakePassiveClock }

func (c ticking) Now() time.Time {
	c.SetTime(c.FakePassiveClock.Now().Add(time.Millisecond))
	return c.FakePassiveClock.Now()
}

func TestBudget(t *testing.T) {
	c := ticking{clocktesting.NewFakePassiveClock(time.Unix(0, 0))}
	budget := NewBudget(c, 1500*time.Millisecond, 1<<20)
	g, err := NewGenerator(`{{ range 700 }}{{ end }}`, Zero, budget)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "", "takes too long"} {
		_, err := g.Objects(Names{}, object{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("execution %d: want error %q, got %v", i, want, err)
		}
	}
	if _, err := generate(`{{ range 2000 }}{{ end }}`, Zero, c, object{}); err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("one that takes long: %v", err)
	}
}

func FuzzGenerator(f *testing.F) {
	for _, template := range hostile {
		if len(template) < 1000 {
			f.Add(template, "x")
		}
	}
	f.Add(`{{ range .list }}---`+"\n"+`a: {{ . | quote }}{{ end }}`, "x\n---\ny")
	f.Add(`a: {{ tenant.name }} {{ namespace }} {{ .value | b64enc | trunc 3 }}`, "x")
	f.Fuzz(func(t *testing.T, template, value string) {
		data := object{"value": value, "list": []any{value, int64(1), object{"a": value}}}
		before := runtime.DeepCopyJSON(data)
		start := time.Now()
		first, err1 := generate(template, Zero, clock.RealClock{}, data)
		if took := time.Since(start); took > 20*maxTime {
			t.Errorf("it took %v", took)
		}
		// cmp.Diff takes twice the time for each list around a list.
		if !reflect.DeepEqual(before, data) {
			t.Errorf("data: want %v, got %v", before, data)
		}
		if len(first) > maxObjects {
			t.Errorf("%d objects", len(first))
		}
		second, err2 := generate(template, Zero, clock.RealClock{}, data)
		if err1 == nil && err2 == nil {
			if !reflect.DeepEqual(first, second) {
				t.Errorf("first %v, the second time %v", first, second)
			}
		}
		// What is quoted cannot become more than a string.
		quoted, err := generate(`a: {{ .value | toJson }}`, Zero, clock.RealClock{}, data)
		if err == nil && len(quoted) != 1 {
			t.Errorf("%q, quoted, became %v", value, quoted)
		}
	})
}

// FuzzParseYAML looks for documents that become much larger than they are. The parser
// that knows aliases is not the one that converts them.
func FuzzParseYAML(f *testing.F) {
	for _, document := range []string{
		"a: &a x\nb: c", "a: &a x\nb: [*a,*a]", "a: '&a'\nb: '*a'", "&a : *a", "a: &a [x]\nb: {<<: *a}", "- &a b\n# *a\n- |\n  *a\n- *a",
		"%YAML 1.1\n---\n&a [b]", "a: &a b\n...\n*a", "? &a\n: *a", "a: !!binary \"&a\"", "\xff\xfe&\x00a\x00",
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		value, err := parseYAML(document)
		if err != nil {
			return
		}
		content, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		// A control character, or a < in a text, is written as six.
		if limit := 16*len(document) + 64; len(content) > limit {
			t.Errorf("%d bytes became %d: %s", len(document), len(content), content)
		}
	})
}
