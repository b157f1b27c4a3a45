// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
)

// tenantColumn is the name of the column that only views have.
const tenantColumn = "Tenant"

// asGiven are options by which names and strings may be what they are.
var asGiven = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// rewriter copies JSON as it is, white space included, but for what it rewrites. Its decoder
// reads from its copier: it knows what is where.
type rewriter struct {
	*Resource
	*jsonCopier
	// rootKind is that of the object, list or table, if it was read already.
	rootKind string
	// column is the index of the column to leave out of tables.
	column int
}

// jsonCopier is a copier that knows what it copies.
type jsonCopier struct {
	copier
	in *jsontext.Decoder
}

// reset has it copy something else.
func (c *jsonCopier) reset(dst io.Writer, src io.Reader) {
	c.src, c.dst, c.at = src, dst, 0
	c.ahead.Reset()
	c.in.Reset(&c.copier, asGiven...)
}

// copiers have buffers, which a watch that waits does not need.
var copiers = sync.Pool{New: func() any { return &jsonCopier{in: jsontext.NewDecoder(strings.NewReader(""))} }}

// with calls f with a copier, which f must not keep.
func with(dst io.Writer, src io.Reader, f func(*jsonCopier) error) error {
	c := copiers.Get().(*jsonCopier) //nolint:forcetypeassert // New and Put have no other
	c.reset(dst, src)
	err := f(c)
	c.reset(nil, strings.NewReader(""))
	if c.ahead.Cap() <= maxKept {
		copiers.Put(c)
	}
	return err
}

const (
	// noColumn is the index where there is none to leave out.
	noColumn = -1
	// unknownColumn is the index until columns were seen.
	unknownColumn = -2
)

// JSON rewrites one object, list, table or status.
func JSON(r *Resource, dst io.Writer, src io.Reader) error {
	return with(dst, src, func(c *jsonCopier) error {
		j := &rewriter{Resource: r, jsonCopier: c, column: unknownColumn}
		if err := j.root(); err != nil {
			return fmt.Errorf("rewrite JSON: %w", err)
		}
		if _, err := j.in.ReadToken(); !errors.Is(err, io.EOF) {
			return errors.New("rewrite JSON: there is more than one value")
		}
		return j.put(j.ahead.Bytes())
	})
}

// JSONEvents returns the events of a watch, rewritten.
func JSONEvents(r *Resource, src io.Reader) *Events {
	j := &rewriter{Resource: r, column: unknownColumn}
	events := &unreader{src: src}
	return &Events{
		await: events.await,
		next: func(dst *bytes.Buffer) error {
			return with(dst, events, func(c *jsonCopier) error {
				j.jsonCopier = c
				if err := j.event(); err != nil {
					return fmt.Errorf("rewrite event: %w", err)
				}
				if err := errors.Join(j.copyTo(j.in.InputOffset()), j.put([]byte("\n"))); err != nil {
					return err
				}
				j.jsonCopier = nil
				events.unread(c.ahead.Bytes())
				return nil
			})
		},
	}
}

// event rewrites a metav1.WatchEvent.
func (j *rewriter) event() error {
	var kind watch.EventType
	return j.object(func(name string) error {
		switch name {
		case "type":
			if j.in.PeekKind() != '"' {
				return errors.New("the type of an event is no string")
			}
			value, err := j.in.ReadValue()
			if err != nil {
				return err
			}
			kind = watch.EventType(unquoted(value))
			return nil
		case "object":
			switch kind {
			case watch.Error:
				return j.status()
			case "":
				return errors.New("the type of an event is not its first field")
			}
			return j.root()
		default:
			return j.asIs()
		}
	})
}

// status rewrites a status.
func (j *rewriter) status() error {
	value, err := j.in.ReadValue()
	if err != nil {
		return err
	}
	status := &metav1.Status{}
	if err := utiljson.Unmarshal(value, status); err != nil {
		return fmt.Errorf("decode status: %w", err)
	}
	j.Status(status)
	rewritten, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	return j.replace(value, rewritten)
}

// root rewrites an object, a list or a table.
func (j *rewriter) root() error {
	j.rootKind = ""
	return j.object(func(name string) error {
		switch name {
		case "kind":
			return j.text(func(kind string) string {
				j.rootKind = kind
				return j.kind(kind)
			})
		case "items":
			if j.rootKind == "" {
				return errors.New("a list has items before it has a kind")
			}
			return j.array(func(int) (keep bool, err error) { return true, j.item() })
		case "columnDefinitions":
			return j.columns()
		case "rows":
			return j.array(func(int) (keep bool, err error) { return true, j.row() })
		default:
			return j.member(name)
		}
	})
}

// item rewrites an object in a list.
func (j *rewriter) item() error {
	if !j.TypedItems || j.rootKind != j.View.Kind+listSuffix || j.in.PeekKind() != '{' {
		return j.object(j.member)
	}
	if err := errors.Join(j.token(), j.copyTo(j.in.InputOffset())); err != nil {
		return err
	}
	// What comes next has to be there for the white space before it to be.
	j.in.PeekKind()
	space, blank := j.whiteSpace(), ""
	if len(space) > 0 {
		blank = " "
	}
	kind := fmt.Appendf(nil, `%[1]s"apiVersion":%[2]s%[3]q,%[1]s"kind":%[2]s%[4]q`, space, blank, j.Native.GroupVersion(), j.Native.Kind)
	if err := j.put(kind); err != nil {
		return err
	}
	return j.fields(func(i int, start int64, name string) error {
		leftOut := name == "apiVersion" || name == "kind"
		if i == 0 && !leftOut {
			// It has no comma before it.
			if err := j.put([]byte(",")); err != nil {
				return err
			}
		}
		if err := j.asIs(); err != nil || !leftOut {
			return err
		}
		return j.leaveOutFrom(start)
	})
}

// member rewrites a field of an object.
func (j *rewriter) member(name string) error {
	switch name {
	case "kind":
		return j.text(j.kind)
	case "apiVersion":
		return j.text(j.apiVersion)
	default:
		return j.asIs()
	}
}

// columns leaves the view's own column out. Tables after the first one of a watch have none,
// and the rows of that one.
func (j *rewriter) columns() error {
	return j.array(func(i int) (keep bool, err error) {
		if i == 0 {
			j.column = noColumn
		}
		value, err := j.in.ReadValue()
		if err != nil {
			return false, err
		}
		var definition metav1.TableColumnDefinition
		if err := utiljson.Unmarshal(value, &definition); err != nil {
			return false, fmt.Errorf("decode column: %w", err)
		}
		if definition.Name == tenantColumn && j.column == noColumn {
			j.column = i
		}
		return i != j.column, nil
	})
}

// row rewrites a row of a table.
func (j *rewriter) row() error {
	return j.object(func(name string) error {
		switch name {
		case "cells":
			if j.column == unknownColumn {
				return errors.New("a table has rows before it has columns")
			}
			return j.array(func(i int) (keep bool, err error) { return i != j.column, j.asIs() })
		case "object":
			return j.object(j.member)
		default:
			return j.asIs()
		}
	})
}

// object reads an object: the value of each field is for member to read. What is no object
// stays as it is.
func (j *rewriter) object(member func(name string) error) error {
	if j.in.PeekKind() != '{' {
		return j.asIs()
	}
	if err := j.token(); err != nil {
		return err
	}
	return j.fields(func(_ int, _ int64, name string) error { return member(name) })
}

// fields reads the names of the fields of an object that has begun, to its end. The value is
// for field to read. Before start is what comes before the field, without a comma.
func (j *rewriter) fields(field func(i int, start int64, name string) error) error {
	for i := 0; ; i++ {
		start := j.in.InputOffset()
		if j.in.PeekKind() != '"' {
			// An error is reported by what reads on.
			return j.token()
		}
		name, err := j.in.ReadValue()
		if err != nil {
			return err
		}
		if err := field(i, start, unquoted(name)); err != nil {
			return err
		}
	}
}

// array reads an array whose elements are for element to read, which says if they stay. What
// is no array stays as it is.
func (j *rewriter) array(element func(i int) (keep bool, err error)) error {
	if j.in.PeekKind() != '[' {
		return j.asIs()
	}
	if err := j.token(); err != nil {
		return err
	}
	none := true
	for i := 0; ; i++ {
		start := j.in.InputOffset()
		switch j.in.PeekKind() {
		case ']', 0:
			// An error is reported by what reads on.
			return j.token()
		}
		if none && i > 0 {
			// The comma is of an element that was left out.
			start += int64(len(j.whiteSpace()) + len(","))
			j.leaveOutTo(start)
		}
		keep, err := element(i)
		if err != nil {
			return err
		}
		if none = none && !keep; !keep {
			err = j.leaveOutFrom(start)
		} else {
			err = j.copyTo(j.in.InputOffset())
		}
		if err != nil {
			return err
		}
	}
}

// text has a string be what native says. What is no string stays as it is.
func (j *rewriter) text(native func(string) string) error {
	if j.in.PeekKind() != '"' {
		return j.asIs()
	}
	value, err := j.in.ReadValue()
	if err != nil {
		return err
	}
	given := unquoted(value)
	if is := native(given); is != given {
		return j.replace(value, strconv.AppendQuote(nil, is))
	}
	return nil
}

// unquoted returns a string of JSON.
func unquoted(value jsontext.Value) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	// It fails where that is not UTF-8, and has a replacement character there.
	text, _ := jsontext.AppendUnquote(nil, value)
	return string(text)
}

// asIs reads a value that stays as it is.
func (j *rewriter) asIs() error {
	_, err := j.in.ReadValue()
	return err
}

// token reads a token that stays as it is.
func (j *rewriter) token() error {
	_, err := j.in.ReadToken()
	return err
}

// replace has something else be in the place of the value that was read last.
func (j *rewriter) replace(value jsontext.Value, by []byte) error {
	return errors.Join(j.leaveOutFrom(j.in.InputOffset()-int64(len(value))), j.put(by))
}

// leaveOutFrom leaves out what was read from a place on.
func (j *rewriter) leaveOutFrom(start int64) error {
	if err := j.copyTo(start); err != nil {
		return err
	}
	j.leaveOutTo(j.in.InputOffset())
	return nil
}
