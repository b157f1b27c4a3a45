// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Exactly is how objects of a kind say what is wanted.
type Exactly[T client.Object] struct {
	// Says reports whether an object says what is wanted, CanSay whether it can be made
	// to. CanSay is nil if each can.
	Says, CanSay func(is, want T) bool
	// Set makes it say that.
	Set func(object, want T)
}

// MakeExactly makes an object that is not among the cached ones. One that is there
// all the same is changed as by ChangeExactly if it says what is wanted, if the
// controller has made it, or if it is controlled by whom the wanted one is; else the
// error is a ForeignError. What the controller has made and cannot be changed into what
// is wanted is made anew.
func MakeExactly[T client.Object](ctx context.Context, a Applier, want T, how Exactly[T]) error {
	err := a.Create(ctx, copyOf(want), client.FieldOwner(FieldManager))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	//nolint:forcetypeassert // it has the type of the wanted one
	is := reflect.New(reflect.TypeOf(want).Elem()).Interface().(T)
	if err := a.Live.Get(ctx, client.ObjectKeyFromObject(want), is); err != nil {
		return fmt.Errorf("get %s: %w", Name(client.ObjectKeyFromObject(want)), err)
	}
	switch own := slices.ContainsFunc(is.GetManagedFields(), isOwn); {
	case own && (isControlledByAnother(is, want) || how.CanSay != nil && !how.CanSay(is, want)):
		if err := a.DeleteExactly(ctx, is); err != nil {
			return fmt.Errorf("delete what cannot be changed: %w", err)
		}
		return a.Create(ctx, copyOf(want), client.FieldOwner(FieldManager))
	case !own && !isControlledByTheSame(is, want) && !how.Says(is, want):
		gvk, err := a.GroupVersionKindFor(want)
		if err != nil {
			return fmt.Errorf("find kind: %w", err)
		}
		return &ForeignError{gvk.Kind, client.ObjectKeyFromObject(want)}
	}
	return ChangeExactly(ctx, a, is, want, how.Set)
}

// ChangeExactly makes an object that is there say what is wanted, whoever has
// changed it or added something, by a patch of what differs. Of its labels and
// annotations those of others stay. The error is a conflict if the object is another
// one than is.
func ChangeExactly[T client.Object](ctx context.Context, a Applier, is, want T, set func(object, want T)) error {
	changed := copyOf(is)
	set(changed, want)
	changed.SetLabels(replaced(is.GetLabels(), keysOf(is, "f:labels", isOwn), want.GetLabels()))
	changed.SetAnnotations(replaced(is.GetAnnotations(), keysOf(is, "f:annotations", isOwn), want.GetAnnotations()))
	if !isControlledByTheSame(is, want) {
		changed.SetOwnerReferences(append(slices.Clone(is.GetOwnerReferences()), want.GetOwnerReferences()...))
	}
	patch := client.MergeFromWithOptions(is, client.MergeFromWithOptimisticLock{})
	return a.Patch(ctx, changed, patch, client.FieldOwner(FieldManager))
}

func isControlledByTheSame(is, want client.Object) bool {
	a, b := metav1.GetControllerOfNoCopy(is), metav1.GetControllerOfNoCopy(want)
	return a != nil && b != nil && a.UID == b.UID
}

// isControlledByAnother reports whether an object is controlled, and not by whom the
// wanted one is: there can be one controller.
func isControlledByAnother(is, want client.Object) bool {
	return metav1.GetControllerOfNoCopy(is) != nil && !isControlledByTheSame(is, want)
}

// replaced returns what is there without what is ours, and what is wanted.
func replaced(present map[string]string, own sets.Set[string], wanted map[string]string) map[string]string {
	changed := map[string]string{}
	for key, value := range present {
		if !own.Has(key) {
			changed[key] = value
		}
	}
	maps.Copy(changed, wanted)
	return changed
}

func copyOf[T client.Object](object T) T {
	//nolint:forcetypeassert // a copy has the type of the original
	return object.DeepCopyObject().(T)
}
