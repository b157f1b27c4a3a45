// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
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
