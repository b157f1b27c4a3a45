// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rewrite turns the answers of a view into those of the resource that it is a
// view of: their kinds and apiVersions, the names in errors, and the column that only
// the view has.
//
// Invariants:
//   - What is not one of these comes out as it went in: unknown fields, numbers of any
//     length, and of JSON each byte, line breaks for people included.
//   - Of a list no more than one object is held, and of a watch one event: what an
//     answer costs follows from its objects, not from how many they are.
//   - Where an answer is not what a view can have sent it ends with an error. What was
//     written of it until then is not complete JSON or protobuf, so that nobody takes
//     it for an answer.
//   - The package knows neither HTTP nor who asks.
package rewrite
