// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"path"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

const (
	// compressFrom is how long an answer is from which on it is compressed for who
	// takes that, as in k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.
	compressFrom = 128 << 10
	// maxStatus is more than an error of the API server is long.
	maxStatus = 1 << 20
	// pieces is how much of a list is handed on at once.
	pieces = 32 << 10
)

// toView makes the request that asks the view.
func (p *Proxy) toView(r *httputil.ProxyRequest) {
	// What is compressed cannot be rewritten.
	p.toNativePlain(r)
	route := routeOf(r.In.Context())
	r.Out.URL.Path, r.Out.URL.RawPath = path.Join(p.upstream.Path, route.path), ""
	r.Out.URL.RawQuery = route.query
}

// viewFailed answers where the view did not.
func (p *Proxy) viewFailed(w http.ResponseWriter, req *http.Request, err error) {
	r := routeOf(req.Context())
	switch {
	case errors.Is(err, errAbsent):
		writeError(w, r.request, r.absent)
	case !errors.Is(err, errNoView) && r.absent == nil:
		fail(w, r.request, err)
	case r.refused != nil:
		// Whatever keeps the view from being asked, the native answer is the caller's.
		r.refused.write(w)
	default:
		p.native.ServeHTTP(w, r.request)
	}
}

// rewriteAnswer makes a view's answer a native one.
func rewriteAnswer(resp *http.Response) error {
	r := routeOf(resp.Request.Context())
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("the view answers with status %d and a media type %q: %w", resp.StatusCode, resp.Header.Get("Content-Type"), err)
	}
	if resp.StatusCode != http.StatusOK {
		return rewriteStatus(resp, r, mediaType)
	}
	if r.absent != nil {
		return errNoView
	}
	transform := transformation(r, mediaType)
	if transform == nil {
		return fmt.Errorf("the view answers with media type %q", mediaType)
	}
	resp.Header.Del("Content-Length")
	resp.ContentLength = -1
	body := piped(resp.Body, transform)
	if r.verb == verbWatch {
		resp.Body = body
		return nil
	}
	// The first part is looked at before the answer begins: an error in it is one of
	// the answer then, and what is short need not be compressed.
	beginning := make([]byte, compressFrom)
	n, err := io.ReadFull(body, beginning)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return setBody(resp, beginning[:n])
	case err != nil:
		return errors.Join(err, body.Close())
	}
	resp.Body = joined{io.MultiReader(bytes.NewReader(beginning), body), body}
	if r.acceptsGzip {
		compress(resp)
	}
	return nil
}

// transformation returns what rewrites a body of a media type, or nil if nothing does.
func transformation(r *route, mediaType string) func(dst *bufio.Writer, src io.Reader) error {
	switch {
	case mediaType == runtime.ContentTypeJSON && r.verb == verbWatch:
		return func(dst *bufio.Writer, src io.Reader) error {
			return rewrite.JSONEvents(r.resource, dst, src, dst.Flush)
		}
	case mediaType == runtime.ContentTypeJSON:
		return func(dst *bufio.Writer, src io.Reader) error { return rewrite.JSON(r.resource, dst, src) }
	case mediaType == runtime.ContentTypeProtobuf && r.verb == verbWatch:
		return func(dst *bufio.Writer, src io.Reader) error {
			return rewrite.ProtobufEvents(r.resource, dst, src, dst.Flush)
		}
	case mediaType == runtime.ContentTypeProtobuf:
		return func(dst *bufio.Writer, src io.Reader) error { return rewrite.Protobuf(r.resource, dst, src) }
	case mediaType == runtime.ContentTypeYAML && r.verb != verbWatch:
		return func(dst *bufio.Writer, src io.Reader) error { return rewriteYAML(r.resource, dst, src) }
	default:
		return nil
	}
}

// rewriteYAML rewrites a body as a whole: YAML is for people to read.
func rewriteYAML(r *rewrite.Resource, dst io.Writer, src io.Reader) error {
	data, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		return fmt.Errorf("read YAML: %w", err)
	}
	// Its fields are in the order of their names; what is rewritten has the kind first.
	var kindFirst struct {
		Kind jsontext.Value `json:"kind,omitzero"`
		Rest jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(data, &kindFirst); err != nil {
		return fmt.Errorf("read YAML: %w", err)
	}
	if data, err = json.Marshal(kindFirst); err != nil {
		return fmt.Errorf("put kind first: %w", err)
	}
	var rewritten bytes.Buffer
	if err := rewrite.JSON(r, &rewritten, bytes.NewReader(data)); err != nil {
		return err
	}
	// To YAML, U+2028 and U+2029 are ends of lines unless they are escaped.
	var escaped bytes.Buffer
	stdjson.HTMLEscape(&escaped, rewritten.Bytes())
	data, err = yaml.JSONToYAML(escaped.Bytes())
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = dst.Write(data)
	return err
}

// rewriteStatus makes a view's error a native one.
func rewriteStatus(resp *http.Response, r *route, mediaType string) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	status, encode, err := decodeStatus(data, mediaType)
	switch {
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusNotFound && (err != nil || !r.isHidden(status)):
		// There is no view, or not for this caller.
		return errNoView
	case err != nil:
		return fmt.Errorf("the view answers with status %d: %w", resp.StatusCode, err)
	}
	if r.absent != nil {
		if resp.StatusCode == http.StatusNotFound {
			return errAbsent
		}
		return errNoView
	}
	r.resource.Status(status)
	if data, err = encode(status); err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	return errors.Join(resp.Body.Close(), setBody(resp, data))
}

// isHidden reports whether a status says that there is no such object, or none that the
// caller may see.
func (r *route) isHidden(status *metav1.Status) bool {
	d, view := status.Details, r.resource.View
	return r.verb == verbGet && d != nil && d.Group == view.Group && d.Kind == view.Resource
}

// setBody makes a body of known length the answer's.
func setBody(resp *http.Response, data []byte) error {
	resp.Body = io.NopCloser(bytes.NewReader(data))
	resp.ContentLength = int64(len(data))
	resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
	return nil
}

// joined reads from one and closes another.
type joined struct {
	io.Reader
	io.Closer
}
