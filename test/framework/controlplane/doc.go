// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a Kubernetes control plane as child processes of
// the caller: etcd, kube-apiserver and kube-controller-manager, on loopback,
// with a PKI of its own. `make up` and the tests share it. It needs Linux.
//
//	cp, err := controlplane.Start(ctx, controlplane.Config{Dir: tb.TempDir()})
//	defer cp.Stop()
//	alice, err := cp.RESTConfig("alice", "capsule.clastix.io")
//
// kube-apiserver takes client certificates, and tokens of an OpenID Connect
// issuer that this package serves over TLS:
//
//	carol, err := cp.TokenConfig("carol@example.com", "0fd5e5bb-39bb-468c-b343-dcdfb01e92d0")
//
// Everything of one control plane is below Config.Dir, and any number of them
// run side by side in different directories.
//
// # What ends the children
//
// Stop does, in reverse order of their start. A supervisor that dies without
// calling it takes its children along: the kernel kills them (Pdeathsig). In
// case one survives all the same, every child is on record in Dir with its pid
// and start time, and the next Start in that Dir, or Destroy, kills it first.
// A lock on a file in Dir, which the kernel drops with its holder, keeps a
// second supervisor out (ErrAlreadyRunning).
//
// # What stays
//
// Stop leaves Dir as it is. A Start in a Dir that was used before continues
// with its data, its certificate authorities and the keys of its tokens, so that
// kubeconfigs written earlier stay valid as long as the port is the same. The
// issuer of tokens returns to its own port if that is free.
// Destroy removes it all.
package controlplane
