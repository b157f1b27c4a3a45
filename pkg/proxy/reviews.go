// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"

	"tenancy.capsule.io/pkg/proxy/rewrite"
)

// The paths by which callers ask what they may do.
const (
	accessReviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	rulesReviews  = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
	// maxReview is more than the answer to a review is long, as the API server has it.
	maxReview = 3 << 20
	// maxQuestion is more than a review is long that somebody asks for. Of what comes
	// before the API server has seen whose it is, no more is held.
	maxQuestion = 64 << 10
	// questionTimeout is how long one may take to be sent.
	questionTimeout = 10 * time.Second
	// reason is what is said where the API server says no and the proxy yes.
	reason = "what you may get of them is listed by the proxy"
)

// review is a question that a caller asks about itself.
type review struct {
	// request is the caller's.
	request *http.Request
	object  runtime.Object
}

type reviewKey struct{}

// isReview reports whether a request is a question of what the caller may do.
func isReview(req *http.Request) bool {
	return req.Method == http.MethodPost && (req.URL.Path == accessReviews || req.URL.Path == rulesReviews)
}

// serveReview has the API server answer, and where it says no to what the proxy would
// serve, says yes.
func (p *Proxy) serveReview(w http.ResponseWriter, req *http.Request) {
	if req.ContentLength > maxQuestion {
		p.native.ServeHTTP(w, req)
		return
	}
	body, err := p.readQuestion(w, req)
	if err != nil {
		writeError(w, req, apierrors.NewBadRequest("the review cannot be read: "+err.Error()))
		return
	}
	if len(body) > maxQuestion {
		out := req.WithContext(req.Context())
		out.Body = continued(body, req.Body)
		p.native.ServeHTTP(w, out)
		return
	}
	object, encode, err := decode(body, mediaTypeOf(req.Header))
	if err == nil && adapt(object) {
		body, err = encode(object)
	}
	r := &review{request: req, object: object}
	if err != nil {
		// The API server says what is wrong with it.
		r.object = nil
	}
	out := req.WithContext(context.WithValue(req.Context(), reviewKey{}, r))
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	p.reviews.ServeHTTP(w, out)
}

// readQuestion returns the body of a review, or the beginning of one that is longer than
// a review is.
func (p *Proxy) readQuestion(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	stream := http.NewResponseController(w)
	// A ResponseWriter that knows of no deadline is none of a server's.
	_ = stream.SetReadDeadline(time.Now().Add(p.questionTimeout))
	body, err := io.ReadAll(io.LimitReader(req.Body, maxQuestion+1))
	switch {
	// After an error the deadline stays: the server does not wait for what is left, either.
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("it takes longer than %v", p.questionTimeout)
	case err != nil:
		return nil, err
	}
	_ = stream.SetReadDeadline(time.Time{})
	return body, nil
}

// adapt makes a question that of the API server's own requests, and reports whether it
// changed: a namespace is authorized within itself. kubectl names that of its context.
func adapt(object runtime.Object) bool {
	asked, ok := object.(*authorizationv1.SelfSubjectAccessReview)
	if !ok || asked.Spec.ResourceAttributes == nil {
		return false
	}
	a := asked.Spec.ResourceAttributes
	if a.Group != "" || a.Resource != "namespaces" || a.Name == "" || a.Namespace == a.Name {
		return false
	}
	a.Namespace = a.Name
	return true
}

// reviseReview says yes where the proxy serves what the API server refuses.
func (p *Proxy) reviseReview(resp *http.Response) error {
	r, ok := resp.Request.Context().Value(reviewKey{}).(*review)
	if !ok || r.object == nil || resp.StatusCode != http.StatusCreated {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReview))
	if err != nil {
		return fmt.Errorf("read review: %w", err)
	}
	object, encode, err := decode(body, mediaTypeOf(resp.Header))
	if err == nil {
		var revised bool
		switch answer := object.(type) {
		case *authorizationv1.SelfSubjectAccessReview:
			revised, err = p.reviseAccess(r, answer)
		case *authorizationv1.SelfSubjectRulesReview:
			revised, err = p.reviseRules(r, answer)
		}
		if err == nil && revised {
			body, err = encode(object)
		}
	}
	if err != nil {
		return fmt.Errorf("revise review: %w", err)
	}
	return errors.Join(resp.Body.Close(), setBody(resp, body))
}

// reviseAccess revises the answer to one question.
func (p *Proxy) reviseAccess(r *review, answer *authorizationv1.SelfSubjectAccessReview) (bool, error) {
	asked, ok := r.object.(*authorizationv1.SelfSubjectAccessReview)
	if !ok || answer.Status.Allowed || asked.Spec.ResourceAttributes == nil {
		return false, nil
	}
	a := asked.Spec.ResourceAttributes
	// What namespace kubectl names says nothing of what is in none.
	if a.Name != "" || a.Subresource != "" || !slices.Contains([]string{verbGet, verbList, verbWatch}, a.Verb) {
		return false, nil
	}
	for _, resource := range p.router.resources {
		native := resource.Native
		if a.Group != native.Group || a.Resource != native.Resource || a.Version != "" && a.Version != "*" && a.Version != native.Version {
			continue
		}
		holds, err := p.holds(r.request, resource)
		if err != nil {
			// The API server's no is half an answer.
			return false, fmt.Errorf("%w: %w", apierrors.NewServiceUnavailable("the view "+resource.View.Resource+" does not answer: try again later"), err)
		}
		if !holds {
			return false, nil
		}
		answer.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}
		return true, nil
	}
	return false, nil
}

// reviseRules revises the list of what a caller may do. Where a view does not answer, the
// list says so: what the API server allows is true without it.
func (p *Proxy) reviseRules(r *review, answer *authorizationv1.SelfSubjectRulesReview) (bool, error) {
	type outcome struct {
		resource *rewrite.Resource
		holds    bool
		err      error
	}
	outcomes := make(chan outcome, len(p.router.resources))
	var group sync.WaitGroup
	for _, resource := range p.router.resources {
		group.Go(func() {
			holds, err := p.holds(r.request, resource)
			outcomes <- outcome{resource, holds, err}
		})
	}
	group.Wait()
	close(outcomes)
	var found []authorizationv1.ResourceRule
	var silent []string
	var errs []error
	for o := range outcomes {
		switch native := o.resource.Native; {
		case o.err != nil:
			silent, errs = append(silent, o.resource.View.Resource), append(errs, o.err)
		case o.holds:
			found = append(found, authorizationv1.ResourceRule{
				Verbs: []string{verbGet, verbList, verbWatch}, APIGroups: []string{native.Group}, Resources: []string{native.Resource},
			})
		}
	}
	slices.SortFunc(found, func(a, b authorizationv1.ResourceRule) int {
		return strings.Compare(a.APIGroups[0]+"/"+a.Resources[0], b.APIGroups[0]+"/"+b.Resources[0])
	})
	status := &answer.Status
	status.ResourceRules = append(status.ResourceRules, found...)
	if len(silent) > 0 {
		if err := r.request.Context().Err(); err != nil {
			return false, err
		}
		klog.FromContext(r.request.Context()).Error(errors.Join(errs...), "Views do not answer", "views", silent)
		slices.Sort(silent)
		message := "these views do not answer: " + strings.Join(silent, ", ")
		if status.EvaluationError != "" {
			message = status.EvaluationError + "; " + message
		}
		status.Incomplete, status.EvaluationError = true, message
	}
	return len(found)+len(silent) > 0, nil
}

// holds reports whether the caller's view holds something. That of namespaces does not
// need to: who may see a Tenant has, or will have, some.
func (p *Proxy) holds(req *http.Request, resource *rewrite.Resource) (bool, error) {
	holds, err := p.isAny(req, resource)
	if err != nil || holds || resource.View.Resource != "tenantnamespaces" {
		return holds, err
	}
	for _, other := range p.router.resources {
		if other.View.Resource == "mytenants" {
			return p.isAny(req, other)
		}
	}
	return false, nil
}

// isAny reports whether there is an object in the caller's view.
func (p *Proxy) isAny(req *http.Request, resource *rewrite.Resource) (bool, error) {
	list := &metav1.PartialObjectMetadataList{}
	ok, err := p.ask(req, http.MethodGet, path.Join("/apis", resource.View.GroupVersion().String(), resource.View.Resource)+"?limit=1", nil, list)
	// A refusal says nothing of what the proxy would serve: the API server's no stands.
	return ok && len(list.Items) > 0, err
}

// ask asks the API server something else with the credential of a request, and reports
// whether it answered. A refusal is no error.
func (p *Proxy) ask(req *http.Request, method, uri string, body []byte, answer any) (bool, error) {
	url, err := p.upstream.Parse(strings.TrimSuffix(p.upstream.Path, "/") + uri)
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	out, err := http.NewRequestWithContext(withoutRequestBody(req.Context()), method, url.String(), bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	if _, ok := apirequest.UserFrom(req.Context()); !ok {
		for name, values := range req.Header {
			if saysWho(name) {
				out.Header[name] = values
			}
		}
	}
	out.Header.Set("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json")
	out.Header.Set("Content-Type", runtime.ContentTypeJSON)
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		return false, fmt.Errorf("ask the API server: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusInternalServerError, resp.StatusCode == http.StatusTooManyRequests:
		return false, fmt.Errorf("the API server answers with status %d", resp.StatusCode)
	case resp.StatusCode >= http.StatusMultipleChoices:
		return false, nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReview)).Decode(answer); err != nil {
		return false, fmt.Errorf("decode answer: %w", err)
	}
	return true, nil
}
