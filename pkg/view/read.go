// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/storage"
)

const (
	// freshnessWait is how long a read waits for a revision that is yet to come,
	// and retryAfter, in seconds, what it tells a client that waited in vain. Both
	// are those of the API server's watch cache.
	freshnessWait = 3 * time.Second
	retryAfter    = 1

	// keyPrefix makes names the keys that continue tokens are made of.
	keyPrefix = "/"
)

// ListOptions say what a list is to hold. The zero value asks for everything
// that the reader may get, now.
type ListOptions struct {
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	Selection
	// Limit is how many objects a page holds, 0 for no limit; Continue is the
	// token of the page before.
	Limit    int64
	Continue string
}

// Selection selects objects; a nil selector selects all.
type Selection struct {
	Labels labels.Selector
	Fields fields.Selector
}

// List is what a reader may get, or a page of it.
type List[P Object] struct {
	// Items are the stored objects, in the order of their names.
	Items           []P
	ResourceVersion uint64
	// Continue is the token of the next page; empty on the last one.
	Continue string
}

// Get returns the object of a name if one of the subjects may get it; false both
// for one that they may not get and for one that does not exist. The content is
// at least as new as resourceVersion, which is empty, "0" or a revision. Errors
// are those of package storage.
func (v *View[P, S]) Get(ctx context.Context, subjects []S, name, resourceVersion string) (P, bool, error) {
	var none P
	revision, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		return none, false, err
	}
	if err := v.waitFor(ctx, revision); err != nil {
		return none, false, err
	}
	element, found := v.snapshot.Load().get(name)
	if !found || !(*v.access.Load()).Allowed(subjects, name) {
		return none, false, nil
	}
	return element.Object, true, nil
}

// List returns the objects that one of the subjects may get and that match. The
// empty resourceVersion and "0" mean now, as does a token whose revision has been
// given up by the client. Errors are API errors: 400 for a token or a revision
// that cannot be read, 504 for a revision that does not come, 410 for one that is
// forgotten.
func (v *View[P, S]) List(ctx context.Context, subjects []S, o ListOptions) (List[P], error) {
	content, from, err := v.contentFor(ctx, o)
	if err != nil {
		return List[P]{}, err
	}
	list := List[P]{ResourceVersion: content.handOut()}
	more := false
	v.walk(content, subjects, from, o, func(element *Element[P]) bool {
		if more = o.Limit > 0 && int64(len(list.Items)) == o.Limit; more {
			return false
		}
		list.Items = append(list.Items, element.Object)
		return true
	})
	if more {
		last := list.Items[len(list.Items)-1].GetName()
		if list.Continue, err = storage.EncodeContinue(keyPrefix+last+"\x00", keyPrefix, int64(content.resourceVersion)); err != nil {
			return List[P]{}, fmt.Errorf("encode continue token: %w", err)
		}
	}
	return list, nil
}

// walk calls yield with the matching elements of the content from from on, in
// order, until it returns false.
func (v *View[P, S]) walk(content *snapshot[P], subjects []S, from string, o ListOptions, yield func(*Element[P]) bool) {
	// The access is newer than the content, so that what was revoked is not shown,
	// and present is newer than both. Objects and RBAC still come by streams of
	// their own: for moments, one may be ahead of the other.
	access := *v.access.Load()
	present := v.snapshot.Load()
	every := access.Every(subjects)
	v.visible(content, access, subjects, from, o.Selection, func(element *Element[P]) bool {
		// Access to a name is access to the object that bears it now. An old
		// content may hold another one, of which the reader was never to know.
		if content != present && !every {
			if now, found := present.get(element.Name); !found || now.Object.GetUID() != element.Object.GetUID() {
				return true
			}
		}
		return yield(element)
	})
}

// visible calls yield with the elements of a content, from a name on and in
// order, that an access allows and that match, until it returns false.
func (v *View[P, S]) visible(content *snapshot[P], access Access[S], subjects []S, from string, s Selection, yield func(*Element[P]) bool) {
	visit := func(element *Element[P]) bool { return !v.matches(element, s) || yield(element) }
	if name, ok := exactName(s.Fields); ok {
		if element, found := content.get(name); found && name >= from && access.Allowed(subjects, name) {
			visit(element)
		}
		return
	}
	if access.Every(subjects) {
		content.tree.AscendGreaterOrEqual(&Element[P]{Name: from}, visit)
		return
	}
	probe := &Element[P]{}
	for probe.Name = range access.Names(subjects, from) {
		if element, found := content.tree.Get(probe); found && !visit(element) {
			return
		}
	}
}

// exactName returns the one name that a field selector leaves.
func exactName(selector fields.Selector) (string, bool) {
	if selector == nil {
		return "", false
	}
	return selector.RequiresExactMatch(metav1.ObjectNameField)
}

func (v *View[P, S]) matches(element *Element[P], s Selection) bool {
	if s.Labels != nil && !s.Labels.Empty() && !s.Labels.Matches(labels.Set(element.Object.GetLabels())) {
		return false
	}
	return s.Fields == nil || s.Fields.Empty() || s.Fields.Matches(v.kind.Fields(element.Object))
}

// contentFor returns the content that a list is of and the name it begins at.
func (v *View[P, S]) contentFor(ctx context.Context, o ListOptions) (*snapshot[P], string, error) {
	revision, key, err := storage.ValidateListOptions(keyPrefix, storage.APIObjectVersioner{}, storage.ListOptions{
		ResourceVersion:      o.ResourceVersion,
		ResourceVersionMatch: o.ResourceVersionMatch,
		Predicate:            storage.SelectionPredicate{Limit: o.Limit, Continue: o.Continue},
		Recursive:            true,
	})
	if err != nil {
		return nil, "", err
	}
	if revision == 0 {
		least := uint64(0)
		if o.Continue == "" {
			// Was parsed above.
			least, _ = storage.APIObjectVersioner{}.ParseResourceVersion(o.ResourceVersion)
		}
		if err := v.waitFor(ctx, least); err != nil {
			return nil, "", err
		}
		return v.snapshot.Load(), nameOf(key), nil
	}
	if err := v.waitFor(ctx, uint64(revision)); err != nil {
		return nil, "", err
	}
	v.lock.Lock()
	content, known := v.history.at(uint64(revision))
	v.lock.Unlock()
	switch {
	case known && content.resourceVersion == uint64(revision):
		return content, nameOf(key), nil
	case known:
		return newSnapshot(content.tree, uint64(revision)), nameOf(key), nil
	case o.Continue != "":
		return nil, "", inconsistentContinueError(key)
	default:
		return nil, "", tooOldError(uint64(revision))
	}
}

func nameOf(key string) string {
	if key == "" {
		return ""
	}
	return key[len(keyPrefix):]
}

func tooOldError(resourceVersion uint64) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", resourceVersion))
}

// inconsistentContinueError tells a client whose pages are of a forgotten revision
// how to go on: with a token that continues at the present one.
func inconsistentContinueError(key string) error {
	expired := apierrors.NewResourceExpired("the continue token is too old for a consistent list: start a list without it, or use the token in this response to go on with what has changed since")
	token, err := storage.EncodeContinue(key, keyPrefix, -1)
	if err == nil {
		expired.ErrStatus.ListMeta.Continue = token
	}
	return expired
}

// waitFor returns when the content is at least as new as the revision, or with an
// error that tells the client to try again.
func (v *View[P, S]) waitFor(ctx context.Context, resourceVersion uint64) error {
	if v.snapshot.Load().resourceVersion >= resourceVersion {
		return nil
	}
	timer := v.clock.NewTimer(freshnessWait)
	defer timer.Stop()
	for {
		v.lock.Lock()
		present := v.snapshot.Load().resourceVersion
		if v.advanced == nil {
			v.advanced = make(chan struct{})
		}
		advanced := v.advanced
		v.lock.Unlock()
		if present >= resourceVersion {
			return nil
		}
		select {
		case <-advanced:
		case <-timer.C():
			return storage.NewTooLargeResourceVersionError(resourceVersion, present, retryAfter)
		case <-ctx.Done():
			return storage.NewTooLargeResourceVersionError(resourceVersion, present, retryAfter)
		}
	}
}
