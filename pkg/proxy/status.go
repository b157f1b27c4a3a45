// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// statusVersion is the version of a Status, whatever it is about.
var statusVersion = schema.GroupVersion{Version: "v1"}

// codecs know a Status, and what the proxy has to understand of requests, in every media
// type that API servers speak.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, statusVersion)
	scheme.AddUnversionedTypes(statusVersion, &metav1.Status{})
	utilruntime.Must(authorizationv1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme)
}()

// writeError writes an error as a Status, in the media type that the client asks for.
func writeError(w http.ResponseWriter, req *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, codecs, statusVersion, w, req)
}

// statusOf returns what an error has for clients to read, or nil.
func statusOf(err error) *apierrors.StatusError {
	if broken, ok := errors.AsType[brokenError](err); ok {
		err = broken.error
	}
	status, _ := errors.AsType[*apierrors.StatusError](err)
	return status
}

// decode returns the object in a body, and what encodes one like it.
func decode(data []byte, mediaType string) (object runtime.Object, encode func(runtime.Object) ([]byte, error), err error) {
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		return nil, nil, fmt.Errorf("media type %q is not one of the API server's", mediaType)
	}
	object, kind, err := info.Serializer.Decode(data, nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("decode: %w", err)
	}
	return object, func(object runtime.Object) ([]byte, error) {
		return runtime.Encode(codecs.EncoderForVersion(info.Serializer, kind.GroupVersion()), object)
	}, nil
}

// decodeStatus returns the Status in a body, and what encodes one like it.
func decodeStatus(data []byte, mediaType string) (*metav1.Status, func(runtime.Object) ([]byte, error), error) {
	object, encode, err := decode(data, mediaType)
	if err != nil {
		return nil, nil, err
	}
	status, ok := object.(*metav1.Status)
	if !ok {
		return nil, nil, fmt.Errorf("%T where a Status should be", object)
	}
	return status, encode, nil
}

// canBeStatus reports whether an answer may be a Status, by its header.
func canBeStatus(resp *http.Response) bool {
	_, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaTypeOf(resp.Header))
	return ok && resp.ContentLength <= maxStatus
}

// isForbidden reports whether a body is the Status by which API servers refuse.
func isForbidden(data []byte, header http.Header) bool {
	return onOtherStack(func() bool { return decodesForbidden(data, header) })
}

// onOtherStack calls f in a goroutine of its own. Decoding takes more than is left of a stack
// of 8 KiB where an answer is looked at, and the goroutine of each watch would have twice that
// for as long as it is open.
func onOtherStack[T any](f func() T) (value T) {
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		value = f()
	}()
	<-done
	if panicked != nil {
		panic(panicked)
	}
	return value
}

func decodesForbidden(data []byte, header http.Header) bool {
	// The API server does not compress what is short, but something in front of it may.
	if header.Get("Content-Encoding") == "gzip" {
		reader, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return false
		}
		if data, err = io.ReadAll(io.LimitReader(reader, maxStatus)); err != nil {
			return false
		}
	}
	status, _, err := decodeStatus(data, mediaTypeOf(header))
	return err == nil && status.Reason == metav1.StatusReasonForbidden
}

// mediaTypeOf returns the media type of a body with a header, or nothing if it has none.
func mediaTypeOf(header http.Header) string {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return mediaType
}
