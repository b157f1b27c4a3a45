// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
)

// tenantColumn is the name of the column that only views have.
const tenantColumn = "Tenant"

// asGiven are options by which strings and names come out as they went in.
var asGiven = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
	jsontext.PreserveRawStrings(true),
}

// rewriter copies JSON from a decoder to an encoder.
type rewriter struct {
	*Resource
	// in and out are nil between the events of a watch.
	in  *jsontext.Decoder
	out *jsontext.Encoder
	// rootKind is that of the object, list or table, if it was read already.
	rootKind string
	// column is the index of the column to leave out of tables.
	column int
}

const (
	// noColumn is the index where there is none to leave out.
	noColumn = -1
	// unknownColumn is the index until columns were seen.
	unknownColumn = -2
)

// JSON rewrites one object, list, table or status.
func JSON(r *Resource, dst io.Writer, src io.Reader) error {
	j := &rewriter{Resource: r, in: jsontext.NewDecoder(src, asGiven...), out: jsontext.NewEncoder(dst, asGiven...), column: unknownColumn}
	if err := j.root(); err != nil {
		return fmt.Errorf("rewrite JSON: %w", err)
	}
	if _, err := j.in.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("rewrite JSON: there is more than one value")
	}
	return nil
}

// JSONEvents returns the events of a watch, rewritten.
func JSONEvents(r *Resource, src io.Reader) *Events {
	j := &rewriter{Resource: r, column: unknownColumn}
	events := &unreader{src: src}
	return &Events{
		await: events.await,
		next: func(dst *bytes.Buffer) error {
			j.in = eventDecoders.Get().(*jsontext.Decoder) //nolint:forcetypeassert // New and Put have no other
			j.in.Reset(events, asGiven...)
			j.out = jsontext.NewEncoder(dst, asGiven...)
			if err := j.event(); err != nil {
				return fmt.Errorf("rewrite event: %w", err)
			}
			events.unread(j.in.UnreadBuffer())
			j.in.Reset(strings.NewReader(""), asGiven...)
			eventDecoders.Put(j.in)
			j.in, j.out = nil, nil
			return nil
		},
	}
}

// eventDecoders have buffers, which a watch that waits does not need.
var eventDecoders = sync.Pool{New: func() any { return jsontext.NewDecoder(strings.NewReader(""), asGiven...) }}

// event rewrites a metav1.WatchEvent.
func (j *rewriter) event() error {
	var kind watch.EventType
	return j.object(func(name string) error {
		switch name {
		case "type":
			text, err := j.text()
			if err != nil {
				return err
			}
			kind = watch.EventType(text)
			return j.out.WriteToken(jsontext.String(text))
		case "object":
			switch kind {
			case watch.Error:
				return j.status()
			case "":
				return errors.New("the type of an event is not its first field")
			}
			return j.root()
		default:
			return j.verbatim()
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
	return j.out.WriteValue(rewritten)
}

// root rewrites an object, a list or a table.
func (j *rewriter) root() error {
	j.rootKind = ""
	return j.object(func(name string) error {
		switch name {
		case "kind":
			if j.in.PeekKind() != '"' {
				return j.verbatim()
			}
			var err error
			if j.rootKind, err = j.text(); err != nil {
				return err
			}
			return j.out.WriteToken(jsontext.String(j.kind(j.rootKind)))
		case "items":
			if j.rootKind == "" {
				return errors.New("a list has items before it has a kind")
			}
			return j.array(func(int) error { return j.item() })
		case "columnDefinitions":
			return j.columns()
		case "rows":
			return j.array(func(int) error { return j.row() })
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
	if err := errors.Join(
		j.token(),
		j.out.WriteToken(jsontext.String("apiVersion")), j.out.WriteToken(jsontext.String(j.Native.GroupVersion().String())),
		j.out.WriteToken(jsontext.String("kind")), j.out.WriteToken(jsontext.String(j.Native.Kind)),
	); err != nil {
		return err
	}
	return j.fields(func(name string) error {
		if name == "apiVersion" || name == "kind" {
			return j.in.SkipValue()
		}
		return errors.Join(j.out.WriteToken(jsontext.String(name)), j.verbatim())
	})
}

// member rewrites a field of an object.
func (j *rewriter) member(name string) error {
	var native func(string) string
	switch name {
	case "kind":
		native = j.kind
	case "apiVersion":
		native = j.apiVersion
	default:
		return j.verbatim()
	}
	if j.in.PeekKind() != '"' {
		return j.verbatim()
	}
	text, err := j.text()
	if err != nil {
		return err
	}
	return j.out.WriteToken(jsontext.String(native(text)))
}

// columns copies the columns of a table but for the view's own. Tables after the first
// one of a watch have none, and the rows of that one.
func (j *rewriter) columns() error {
	return j.array(func(i int) error {
		if i == 0 {
			j.column = noColumn
		}
		value, err := j.in.ReadValue()
		if err != nil {
			return err
		}
		var definition metav1.TableColumnDefinition
		if err := utiljson.Unmarshal(value, &definition); err != nil {
			return fmt.Errorf("decode column: %w", err)
		}
		if definition.Name == tenantColumn {
			j.column = i
			return nil
		}
		return j.out.WriteValue(value)
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
			return j.array(func(i int) error {
				if i == j.column {
					return j.in.SkipValue()
				}
				return j.verbatim()
			})
		case "object":
			return j.object(j.member)
		default:
			return j.verbatim()
		}
	})
}

// object copies an object: each field's name is written, and the value is for member to
// write. What is no object is copied as it is.
func (j *rewriter) object(member func(name string) error) error {
	if j.in.PeekKind() != '{' {
		return j.verbatim()
	}
	if err := j.token(); err != nil {
		return err
	}
	return j.fields(func(name string) error {
		if err := j.out.WriteToken(jsontext.String(name)); err != nil {
			return err
		}
		return member(name)
	})
}

// fields reads the names of the fields of an object that has begun, to its end. What
// comes of a field is for field to read and to write.
func (j *rewriter) fields(field func(name string) error) error {
	for j.in.PeekKind() == '"' {
		name, err := j.text()
		if err != nil {
			return err
		}
		if err := field(name); err != nil {
			return err
		}
	}
	// An error is reported by what reads on.
	return j.token()
}

// array copies an array whose elements are for element to write. What is no array is
// copied as it is.
func (j *rewriter) array(element func(i int) error) error {
	if j.in.PeekKind() != '[' {
		return j.verbatim()
	}
	if err := j.token(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		switch j.in.PeekKind() {
		case ']', 0:
			// An error is reported by what reads on.
			return j.token()
		}
		if err := element(i); err != nil {
			return err
		}
	}
}

// text reads a string.
func (j *rewriter) text() (string, error) {
	token, err := j.in.ReadToken()
	if err != nil {
		return "", err
	}
	if token.Kind() != '"' {
		return "", fmt.Errorf("%v where a string should be", token.Kind())
	}
	return token.String(), nil
}

// token copies a token.
func (j *rewriter) token() error {
	token, err := j.in.ReadToken()
	if err != nil {
		return err
	}
	return j.out.WriteToken(token)
}

// verbatim copies a value.
func (j *rewriter) verbatim() error {
	value, err := j.in.ReadValue()
	if err != nil {
		return err
	}
	return j.out.WriteValue(value)
}
