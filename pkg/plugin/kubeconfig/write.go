// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Write writes a kubeconfig to a file that there is not yet.
func Write(file string, config *clientcmdapi.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user's own choice
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--output %s: there is that file: name another, or have --merge add to the kubeconfig that is in use", file)
	}
	if err != nil {
		return fmt.Errorf("--output %s: %w", file, errors.Unwrap(err))
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(fmt.Errorf("write kubeconfig: %w", err), f.Close(), os.Remove(file))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// Merge adds the cluster and the context of a kubeconfig that New made to that which it
// was made of, whose user they name, and returns the file that has them. The current
// context stays what it is.
func Merge(access clientcmd.ConfigAccess, made *clientcmdapi.Config) (file string, err error) {
	config, err := access.GetStartingConfig()
	if err != nil {
		return "", fmt.Errorf("read kubeconfig: %w", err)
	}
	name := made.CurrentContext
	cluster, context := made.Clusters[name].DeepCopy(), made.Contexts[name].DeepCopy()
	if is, ok := config.Clusters[name]; ok {
		cluster.LocationOfOrigin = is.LocationOfOrigin
		if !apiequality.Semantic.DeepEqual(is, cluster) {
			return "", taken("cluster", name)
		}
	} else {
		config.Clusters[name] = cluster
	}
	if is, ok := config.Contexts[name]; ok {
		context.LocationOfOrigin = is.LocationOfOrigin
		if !apiequality.Semantic.DeepEqual(is, context) {
			return "", taken("context", name)
		}
	} else {
		config.Contexts[name] = context
	}
	if err := clientcmd.ModifyConfig(access, *config, true); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	if file = config.Contexts[name].LocationOfOrigin; file == "" {
		file = access.GetDefaultFilename()
	}
	return file, nil
}

func taken(what, name string) error {
	return fmt.Errorf("the kubeconfig has another %s %q, which is left as it is: name this one with --context-name", what, name)
}
