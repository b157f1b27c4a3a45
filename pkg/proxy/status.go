// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// statusVersion is the version of a Status, whatever it is about.
var statusVersion = schema.GroupVersion{Version: "v1"}

// codecs know a Status in every media type that API servers speak.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, statusVersion)
	scheme.AddUnversionedTypes(statusVersion, &metav1.Status{})
	return serializer.NewCodecFactory(scheme)
}()

// writeError writes an error as a Status, in the media type that the client asks for.
func writeError(w http.ResponseWriter, req *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, codecs, statusVersion, w, req)
}

// decodeStatus returns the Status in a body, and what encodes one like it.
func decodeStatus(data []byte, mediaType string) (status *metav1.Status, encode func(*metav1.Status) ([]byte, error), err error) {
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		return nil, nil, fmt.Errorf("no media type of a Status: %s", mediaType)
	}
	object, err := runtime.Decode(codecs.UniversalDecoder(statusVersion), data)
	if err != nil {
		return nil, nil, fmt.Errorf("decode status: %w", err)
	}
	status, ok = object.(*metav1.Status)
	if !ok {
		return nil, nil, fmt.Errorf("%T where a Status should be", object)
	}
	return status, func(status *metav1.Status) ([]byte, error) {
		return runtime.Encode(codecs.EncoderForVersion(info.Serializer, statusVersion), status)
	}, nil
}
