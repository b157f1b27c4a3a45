// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// magic begins every object in protobuf that is not within another one.
// See k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
const magic = "k8s\x00"

const (
	// maxTypeMeta is more than the names of a kind can take.
	maxTypeMeta = 4096
	// maxEvent is more than an object can take.
	maxEvent = 64 << 20
)

// unknownTypeMeta is the field of runtime.Unknown that names the kind of the object that
// it holds.
const unknownTypeMeta = 1

// Protobuf rewrites one object or list. Within a list no object names its kind.
func Protobuf(r *Resource, dst io.Writer, src io.Reader) error {
	in := bufio.NewReader(src)
	meta, err := readTypeMeta(in)
	if err != nil {
		return fmt.Errorf("rewrite protobuf: %w", err)
	}
	header, err := r.header(meta)
	if err != nil {
		return err
	}
	if _, err := dst.Write(header); err != nil {
		return err
	}
	_, err = io.Copy(dst, in)
	return err
}

// readTypeMeta reads what runtime.Unknown begins with.
func readTypeMeta(in *bufio.Reader) (*runtime.TypeMeta, error) {
	begin := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(in, begin); err != nil {
		return nil, fmt.Errorf("read beginning: %w", err)
	}
	if string(begin[:len(magic)]) != magic {
		return nil, errors.New("it does not begin as an object of Kubernetes does")
	}
	if number, kind := protowire.DecodeTag(uint64(begin[len(magic)])); number != unknownTypeMeta || kind != protowire.BytesType {
		return nil, errors.New("it does not begin with a kind")
	}
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, fmt.Errorf("read kind: %w", err)
	}
	if size > maxTypeMeta {
		return nil, fmt.Errorf("a kind of %d bytes", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, fmt.Errorf("read kind: %w", err)
	}
	meta := &runtime.TypeMeta{}
	if err := meta.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("decode kind: %w", err)
	}
	return meta, nil
}

// header returns what a native object begins with.
func (r *Resource) header(view *runtime.TypeMeta) ([]byte, error) {
	native := runtime.TypeMeta{APIVersion: r.apiVersion(view.APIVersion), Kind: r.kind(view.Kind)}
	data, err := native.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode kind: %w", err)
	}
	return protowire.AppendBytes(protowire.AppendTag([]byte(magic), unknownTypeMeta, protowire.BytesType), data), nil
}

// ProtobufEvents returns the events of a watch, rewritten, each behind its length.
func ProtobufEvents(r *Resource, src io.Reader) *Events {
	length := make([]byte, 4)
	return &Events{
		await: func() error {
			_, err := io.ReadFull(src, length)
			return err
		},
		next: func(dst *bytes.Buffer) error {
			size := binary.BigEndian.Uint32(length)
			if size > maxEvent {
				return fmt.Errorf("an event of %d bytes", size)
			}
			var event bytes.Buffer
			if _, err := io.CopyN(&event, src, int64(size)); err != nil {
				return fmt.Errorf("read event: %w", noEOF(err))
			}
			rewritten, err := r.event(event.Bytes())
			if err != nil {
				return fmt.Errorf("rewrite event: %w", err)
			}
			dst.Write(binary.BigEndian.AppendUint32(nil, uint32(len(rewritten))))
			dst.Write(rewritten)
			return nil
		},
	}
}

// event rewrites a metav1.WatchEvent.
func (r *Resource) event(data []byte) ([]byte, error) {
	event := &metav1.WatchEvent{}
	if err := event.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	var err error
	if watch.EventType(event.Type) == watch.Error {
		event.Object.Raw, err = r.statusObject(event.Object.Raw)
	} else {
		var object bytes.Buffer
		err = Protobuf(r, &object, bytes.NewReader(event.Object.Raw))
		event.Object.Raw = object.Bytes()
	}
	if err != nil {
		return nil, err
	}
	return event.Marshal()
}

// statusObject rewrites a status.
func (r *Resource) statusObject(data []byte) ([]byte, error) {
	unknown := &runtime.Unknown{}
	if !bytes.HasPrefix(data, []byte(magic)) {
		return nil, errors.New("status does not begin as an object of Kubernetes does")
	}
	if err := unknown.Unmarshal(data[len(magic):]); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	status := &metav1.Status{}
	if err := status.Unmarshal(unknown.Raw); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	r.Status(status)
	var err error
	if unknown.Raw, err = status.Marshal(); err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	rewritten, err := unknown.Marshal()
	return append([]byte(magic), rewritten...), err
}

// noEOF returns the error of something that ends too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
