// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// maxYAML is how long an answer in YAML may be. Rewriting one takes a hundred times
	// as much memory.
	maxYAML = 1 << 20
	// pieces is how much of an answer is handed on at once, and streamPieces how much of
	// one that stays open, of which there are many at a time: most events fit in.
	pieces       = 32 << 10
	streamPieces = 1 << 10
)

// toView makes the request that asks the view.
func (p *Proxy) toView(r *httputil.ProxyRequest) {
	// What is compressed cannot be rewritten.
	p.toNativePlain(r)
	route := routeOf(r.In.Context())
	u := p.upstream.JoinPath(route.path)
	r.Out.URL.Path, r.Out.URL.RawPath = u.Path, u.RawPath
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
	// It is not the answer, and would be held for as long as a watch is open.
	r.refused = nil
	resp.Header.Del("Content-Length")
	resp.ContentLength = -1
	if events := eventsIn(mediaType); r.verb == verbWatch && events != nil {
		resp.Body = joined{events(r.resource, resp.Body), resp.Body}
		return nil
	}
	transform := transformationOf(r, mediaType)
	if r.verb == verbWatch || transform == nil {
		return fmt.Errorf("the view answers with media type %q", mediaType)
	}
	body := piped(resp.Body, transform)
	// The first part is looked at before the answer begins: an error in it is one of
	// the answer then, and what is short need not be compressed.
	beginning := beginnings.Get()
	n, err := io.ReadFull(body, beginning)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = setBody(resp, beginning[:n])
		resp.Body = joined{resp.Body, closerFunc(sync.OnceFunc(func() { beginnings.Put(beginning) }))}
		return err
	case err != nil:
		return errors.Join(err, body.Close())
	}
	resp.Body = continued(beginning, body)
	if r.acceptsGzip {
		compress(resp)
	}
	return nil
}

// eventsIn returns what rewrites the events of a watch in a media type, or nil if nothing
// does.
func eventsIn(mediaType string) func(*rewrite.Resource, io.Reader) *rewrite.Events {
	switch mediaType {
	case runtime.ContentTypeJSON:
		return rewrite.JSONEvents
	case runtime.ContentTypeProtobuf:
		return rewrite.ProtobufEvents
	default:
		return nil
	}
}

// transformationOf returns what rewrites any other body of a media type, or nil if nothing
// does.
func transformationOf(r *route, mediaType string) func(dst io.Writer, src io.Reader) error {
	switch mediaType {
	case runtime.ContentTypeJSON:
		return func(dst io.Writer, src io.Reader) error { return rewrite.JSON(r.resource, dst, src) }
	case runtime.ContentTypeProtobuf:
		return func(dst io.Writer, src io.Reader) error { return rewrite.Protobuf(r.resource, dst, src) }
	case runtime.ContentTypeYAML:
		return func(dst io.Writer, src io.Reader) error {
			return rewriteYAML(r.request.Context(), r.resource, dst, src)
		}
	default:
		return nil
	}
}

// rewriting is full while YAML is rewritten, of which there is one at a time.
var rewriting = make(chan struct{}, 1)

// rewriteYAML rewrites a body as a whole: YAML is for people to read, and what is longer than
// they do is asked for in JSON.
func rewriteYAML(ctx context.Context, r *rewrite.Resource, dst io.Writer, src io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(src, maxYAML+1))
	if err != nil {
		return err
	}
	if len(data) > maxYAML {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
			Message: "the answer is too long for YAML: ask for " + runtime.ContentTypeJSON,
		}}
	}
	select {
	case rewriting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	data, err = rewrittenYAML(r, data)
	// Whoever reads it may take long.
	<-rewriting
	if err != nil {
		return err
	}
	_, err = dst.Write(data)
	return err
}

// rewrittenYAML returns a body in YAML as a native one.
func rewrittenYAML(r *rewrite.Resource, data []byte) ([]byte, error) {
	data, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	// Its fields are in the order of their names; what is rewritten has the kind first.
	var kindFirst struct {
		Kind jsontext.Value `json:"kind,omitzero"`
		Rest jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(data, &kindFirst); err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	if data, err = json.Marshal(kindFirst); err != nil {
		return nil, fmt.Errorf("put kind first: %w", err)
	}
	var rewritten bytes.Buffer
	if err := rewrite.JSON(r, &rewritten, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	// To YAML, U+2028 and U+2029 are ends of lines unless they are escaped.
	var escaped bytes.Buffer
	stdjson.HTMLEscape(&escaped, rewritten.Bytes())
	if data, err = yaml.JSONToYAML(escaped.Bytes()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return data, nil
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

// beginnings are for what is looked at before an answer begins.
var beginnings = newBuffers(compressFrom)

// closerFunc is an io.Closer.
type closerFunc func()

// Close implements io.Closer.
func (f closerFunc) Close() error { f(); return nil }

// continued returns a body whose beginning was read already.
func continued(beginning []byte, rest io.ReadCloser) io.ReadCloser {
	return joined{io.MultiReader(bytes.NewReader(beginning), rest), rest}
}

// joined reads from one and closes another.
type joined struct {
	io.Reader
	io.Closer
}
