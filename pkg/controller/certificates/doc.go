// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certificates makes and rotates the certificate that tenancy-controller's
// webhooks and tenancy-apiserver are served with, for clusters where nobody else
// does.
//
//	the leader (cert-controller)              every replica
//	  Secret: CA, certificate, keys  ───────▶  the certificate and its key as files
//	     │                                        │
//	     ▼ the CA as caBundle                     ▼
//	  webhook configurations,                  the servers, which read them again
//	  CRD of Tenants, APIService               when they change
//
// tenancy-apiserver mounts certificate and key from the Secret. The key of the CA
// leaves the Secret for nobody but the leader.
//
// Invariants:
//   - The Secret comes with the manifests, empty. The controller has no right to make
//     one.
//   - The files are always of one pair: they are changed together, by one rename.
//
// A new certificate is made 90 days before the old one ends, of the same CA: nobody
// notices. Ninety days before the end of the CA's ten years, or if its key is damaged,
// there is a new CA in place of the old one. Until kubelets have mounted the new
// certificate, a minute or two, handshakes with tenancy-apiserver fail.
package certificates
