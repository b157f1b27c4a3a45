// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// +k8s:deepcopy-gen=package
// +groupName=capsule.clastix.io

// Package v1beta1 holds the kinds of capsule.clastix.io as older manifests have
// them. They are stored as those of v1beta2.
//
// ProxySetting and GlobalProxySettings are the same in both versions. A Tenant is
// not: conversion.go says what becomes of the fields that it has in v1beta2 only.
package v1beta1
