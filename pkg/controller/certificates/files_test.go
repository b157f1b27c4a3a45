// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

var config = Config{Namespace: "tenancy-system", Secret: "tenancy-tls", Webhooks: true}

// pair is a CA, and a certificate of it, as cert-controller makes them.
type pair struct{ ca, cert, key []byte }

// pairs returns always the same two: keys take their time.
var pairs = sync.OnceValues(func() (made [2]pair, err error) {
	c := config.rotator()
	c.ExtKeyUsages = &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	now := time.Now()
	for i := range made {
		authority, err := c.CreateCACert(now, now.Add(time.Hour))
		if err != nil {
			return made, err
		}
		made[i].ca = authority.CertPEM
		if made[i].cert, made[i].key, err = c.CreateCertPEM(authority, now, now.Add(time.Hour)); err != nil {
			return made, err
		}
	}
	return made, nil
})

func twoPairs(t testing.TB) (one, other pair) {
	t.Helper()
	made, err := pairs()
	require.NoError(t, err)
	return made[0], made[1]
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := fs.ReadFile(os.DirFS(dir), name)
	require.NoError(t, err)
	return string(data)
}

// namesIn returns the names in a directory.
func namesIn(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := make([]string, len(entries))
	for i := range entries {
		names[i] = entries[i].Name()
	}
	return names
}

func TestCertificateIsForBothServers(t *testing.T) {
	made, _ := twoPairs(t)
	pair, err := tls.X509KeyPair(made.cert, made.key)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(made.ca))
	for _, name := range []string{"tenancy-controller.tenancy-system.svc", "tenancy-apiserver.tenancy-system.svc", "localhost"} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots})
		assert.NoError(t, err, name)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: "tenancy-proxy.tenancy-system.svc", Roots: roots})
	assert.Error(t, err)
}

func TestRotator(t *testing.T) {
	info := func(name string, kind rotator.WebhookType) rotator.WebhookInfo {
		return rotator.WebhookInfo{Name: name, Type: kind}
	}
	apiService := info("v1alpha1.tenancy.capsule.io", rotator.APIService)
	with := config.rotator()
	assert.Equal(t, []rotator.WebhookInfo{
		apiService,
		info("tenancy-controller", rotator.Validating),
		info("tenancy-controller", rotator.Mutating),
		info("tenants.capsule.clastix.io", rotator.CRDConversion),
	}, with.Webhooks)
	assert.True(t, with.RequireLeaderElection)
	assert.NotNil(t, with.IsReady, "it is closed")
	assert.Equal(t, types.NamespacedName{Namespace: "tenancy-system", Name: "tenancy-tls"}, with.SecretKey)

	without := Config{Namespace: "tenancy-system", Secret: "tenancy-tls"}
	assert.Equal(t, []rotator.WebhookInfo{apiService}, without.rotator().Webhooks, "the others are another operator's")
}

func TestAddToCache(t *testing.T) {
	var options cache.Options
	config.AddToCache(&options)
	require.Len(t, options.ByObject, 1)
	for object, o := range options.ByObject {
		assert.IsType(t, &corev1.Secret{}, object)
		require.Len(t, o.Namespaces, 1)
		assert.Equal(t, "metadata.name=tenancy-tls", o.Namespaces["tenancy-system"].FieldSelector.String())
	}
	other := &corev1.ConfigMap{}
	options.ByObject = map[client.Object]cache.ByObject{other: {}}
	config.AddToCache(&options)
	assert.Len(t, options.ByObject, 2)
	assert.Contains(t, options.ByObject, client.Object(other))
}

func TestWriteFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "new", "one")
	write := func(t *testing.T, cert, key string) bool {
		t.Helper()
		written, err := writeFiles(dir, map[string][]byte{certFile: []byte(cert), keyFile: []byte(key)})
		require.NoError(t, err)
		require.Equal(t, cert, read(t, dir, certFile))
		require.Equal(t, key, read(t, dir, keyFile))
		require.Len(t, namesIn(t, dir), 4, "nothing is left behind: %v", namesIn(t, dir))
		return written
	}
	require.True(t, write(t, "c1", "k1"))
	for _, name := range []string{certFile, keyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	assert.False(t, write(t, "c1", "k1"), "it is there")
	assert.True(t, write(t, "c2", "k2"))
	assert.True(t, write(t, "c2k", "2"), "what is whose matters")

	t.Run("after a crash", func(t *testing.T) {
		// Before the link was made, only half of the new files were written.
		version := filepath.Join(dir, versionOf(map[string][]byte{certFile: []byte("c3"), keyFile: []byte("k3")}))
		require.NoError(t, os.Mkdir(version, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(version, certFile), []byte("c"), 0o600))
		require.NoError(t, os.Symlink(filepath.Base(version), filepath.Join(dir, next)))
		require.Equal(t, "c2k", read(t, dir, certFile), "the old ones are in place")
		assert.True(t, write(t, "c3", "k3"))
	})
	t.Run("over files of somebody else", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(dir, certFile)))
		require.NoError(t, os.WriteFile(filepath.Join(dir, certFile), []byte("strange"), 0o600))
		write(t, "c3", "k3")
		assert.True(t, write(t, "c4", "k4"))
	})
	t.Run("where nothing can be written", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err := writeFiles(filepath.Join(file, "dir"), map[string][]byte{})
		require.Error(t, err)
	})
}

// TestWriteFilesTogether reads while others are written: who serves always has a
// whole pair.
func TestWriteFilesTogether(t *testing.T) {
	dir := t.TempDir()
	one, other := twoPairs(t)
	write := func(p pair) {
		_, err := writeFiles(dir, map[string][]byte{certFile: p.cert, keyFile: p.key})
		assert.NoError(t, err)
	}
	write(one)
	files := NewFiles(dir)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := files.GetCertificate(nil); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	for range 100 {
		write(other)
		write(one)
	}
	close(done)
	readers.Wait()
	write(other)
	got, err := files.GetCertificate(nil)
	require.NoError(t, err)
	want, err := tls.X509KeyPair(other.cert, other.key)
	require.NoError(t, err)
	assert.Equal(t, want.Certificate, got.Certificate, "the last one counts")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	files := NewFiles(dir)
	_, err := files.GetCertificate(nil)
	require.ErrorContains(t, err, "there is no certificate yet")

	write := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	one, other := twoPairs(t)
	write(certFile, one.cert)
	_, err = files.GetCertificate(nil)
	require.Error(t, err, "half of it is no pair")
	write(keyFile, one.key)
	first, err := files.GetCertificate(nil)
	require.NoError(t, err)
	again, err := files.GetCertificate(nil)
	require.NoError(t, err)
	assert.Same(t, first, again, "it is not read again")

	later := time.Now().Add(time.Second)
	write(certFile, other.cert)
	require.NoError(t, os.Chtimes(filepath.Join(dir, certFile), later, later))
	again, err = files.GetCertificate(nil)
	require.NoError(t, err)
	assert.Same(t, first, again, "while the key is the old one, so is the pair")
	write(keyFile, other.key)
	second, err := files.GetCertificate(nil)
	require.NoError(t, err)
	assert.NotEqual(t, first.Certificate, second.Certificate)

	require.NoError(t, os.Remove(filepath.Join(dir, certFile)))
	again, err = files.GetCertificate(nil)
	require.NoError(t, err)
	assert.Same(t, second, again, "what is gone serves on")
}

func TestReconcileFiles(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.Secret}}
	reader := fake.NewClientBuilder().Build()
	r := &filesReconciler{secrets: reader, dir: filepath.Join(t.TempDir(), "tls")}
	reconciled := func(t *testing.T) error {
		t.Helper()
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: config.key()})
		assert.Equal(t, ctrl.Result{}, result)
		return err
	}
	update := func(t *testing.T, data map[string][]byte) {
		t.Helper()
		secret.Data = data
		require.NoError(t, reader.Update(t.Context(), secret))
	}
	require.NoError(t, reconciled(t), "there is no Secret")
	require.NoDirExists(t, r.dir)
	require.NoError(t, reader.Create(context.WithoutCancel(t.Context()), secret))
	require.NoError(t, reconciled(t), "it is empty")
	require.NoDirExists(t, r.dir)

	one, other := twoPairs(t)
	update(t, map[string][]byte{"ca.crt": one.ca, "ca.key": []byte("secret"), certFile: one.cert, keyFile: one.key})
	require.NoError(t, reconciled(t))
	assert.Equal(t, string(one.cert), read(t, r.dir, certFile))
	assert.Equal(t, string(one.key), read(t, r.dir, keyFile))
	for _, name := range []string{"ca.key", "ca.crt"} {
		assert.NoFileExists(t, filepath.Join(r.dir, name))
		assert.NoFileExists(t, filepath.Join(r.dir, current, name))
	}

	update(t, map[string][]byte{certFile: other.cert, keyFile: one.key})
	err := reconciled(t)
	require.ErrorContains(t, err, "read certificate of secret tenancy-system/tenancy-tls")
	assert.ErrorIs(t, err, reconcile.TerminalError(nil), "to try again would not help")
	assert.Equal(t, string(one.cert), read(t, r.dir, certFile), "the good one stays")

	update(t, map[string][]byte{certFile: other.cert, keyFile: other.key})
	require.NoError(t, reconciled(t))
	assert.Equal(t, string(other.cert), read(t, r.dir, certFile))
	require.NoError(t, reader.Delete(t.Context(), secret))
	require.NoError(t, reconciled(t))
	assert.Equal(t, string(other.cert), read(t, r.dir, certFile), "it serves on")
}
