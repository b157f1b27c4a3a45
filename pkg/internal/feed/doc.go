// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package feed connects a cache.Reflector to a sink and knows how fresh the sink is.
//
// It is the feeder inside every informer without the informer: one ordered
// stream, bookmarks included, which prove that silence means "nothing changed"
// and not "nothing arrives". What an informer would store is left to the sink.
package feed
