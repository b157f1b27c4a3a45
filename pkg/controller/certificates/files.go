// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// The names of the files, which are also the keys in the Secret.
const (
	certFile = corev1.TLSCertKey
	keyFile  = corev1.TLSPrivateKeyKey
)

// A directory is laid out as kubelet lays out a volume:
//
//	tls.crt -> ..data/tls.crt
//	tls.key -> ..data/tls.key
//	..data  -> ..2b7e151628aed2a6
//	..2b7e151628aed2a6/tls.crt, tls.key
//
// What begins with two dots is not for readers. One rename, of ..data, changes both
// files.
const (
	hidden  = ".."
	current = hidden + "data"
	// next is a link that is about to be renamed.
	next = hidden + "next"

	digestLength = 8
)

// filesReconciler keeps the files as the Secret has them, in every replica.
type filesReconciler struct {
	secrets client.Reader
	dir     string
}

var _ reconcile.Reconciler = &filesReconciler{}

func addFiles(mgr ctrl.Manager, c Config) error {
	return ctrl.NewControllerManagedBy(mgr).Named("certificate-files").
		WithOptions(controller.Options{NeedLeaderElection: new(bool)}).
		For(&corev1.Secret{}).
		Complete(&filesReconciler{secrets: mgr.GetClient(), dir: c.Dir})
}

// Reconcile implements reconcile.Reconciler.
func (r *filesReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var secret corev1.Secret
	if err := r.secrets.Get(ctx, req.NamespacedName, &secret); err != nil {
		// The files of a Secret that was deleted serve until it is back.
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	cert, key := secret.Data[certFile], secret.Data[keyFile]
	if len(cert) == 0 && len(key) == 0 {
		log.FromContext(ctx).Info("There is no certificate yet, the leader will make one")
		return ctrl.Result{}, nil
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("read certificate of secret %s: %w", req.NamespacedName, err))
	}
	written, err := writeFiles(r.dir, map[string][]byte{certFile: cert, keyFile: key})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("write certificate to %s: %w", r.dir, err)
	}
	if written {
		log.FromContext(ctx).Info("Wrote the certificate", "dir", r.dir)
	}
	return ctrl.Result{}, nil
}

// writeFiles makes the files be in a directory, with these contents, all at once. It
// reports whether they were not.
func writeFiles(dir string, files map[string][]byte) (written bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	version := versionOf(files)
	// The link is made after the files that it leads to: where it is, they are.
	if present, err := root.Readlink(current); err != nil || present != version {
		written = true
		if err := writeVersion(root, version, files); err != nil {
			return false, err
		}
		if err := link(root, version, current); err != nil {
			return false, err
		}
	}
	for name := range files {
		target := path.Join(current, name)
		if present, err := root.Readlink(name); err == nil && present == target {
			continue
		}
		if err := link(root, target, name); err != nil {
			return false, err
		}
	}
	return written, removeOthers(root, version)
}

// versionOf returns the name of the directory of these files.
func versionOf(files map[string][]byte) string {
	hash := sha256.New()
	for _, name := range []string{certFile, keyFile} {
		fmt.Fprintf(hash, "%s %d\n%s", name, len(files[name]), files[name]) //nolint:errcheck // a hash takes everything
	}
	return hidden + hex.EncodeToString(hash.Sum(nil)[:digestLength])
}

func writeVersion(root *os.Root, version string, files map[string][]byte) error {
	if err := root.MkdirAll(version, 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := root.WriteFile(path.Join(version, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// link makes name a link to target, whatever it was.
func link(root *os.Root, target, name string) error {
	if err := root.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(target, next); err != nil {
		return err
	}
	return root.Rename(next, name)
}

// removeOthers removes all versions but one.
func removeOthers(root *os.Root, version string) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), hidden) && entry.Name() != version {
			errs = append(errs, root.RemoveAll(entry.Name()))
		}
	}
	return errors.Join(errs...)
}
