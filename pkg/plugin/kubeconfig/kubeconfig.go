// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"cmp"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// execExtension is what a cluster has to say to the user's exec plugin, see
// k8s.io/client-go/pkg/apis/clientauthentication.
const execExtension = "client.authentication.k8s.io/exec"

// New returns a kubeconfig of the proxy and nothing else. In the one that it is made of,
// paths are absolute, as clientcmd loads them. Warnings are for the user to read.
func New(of *clientcmdapi.Config, o Options) (made *clientcmdapi.Config, warnings []string, err error) {
	name := cmp.Or(o.Context, of.CurrentContext)
	if name == "" {
		return nil, nil, errors.New("the kubeconfig has no current context: choose one with --context, or \"kubectl config use-context\"")
	}
	context, ok := of.Contexts[name]
	if !ok || context == nil {
		return nil, nil, fmt.Errorf("the kubeconfig has no context %q: choose one of \"kubectl config get-contexts\" with --context", name)
	}
	userName := cmp.Or(o.User, context.AuthInfo)
	user, ok := of.AuthInfos[userName]
	if !ok || user == nil {
		return nil, nil, fmt.Errorf("the kubeconfig has no user %q, which is that of context %q: choose another with --context or --user", userName, name)
	}
	cluster, warnings, err := o.cluster()
	if err != nil {
		return nil, nil, err
	}
	if native, ok := of.Clusters[context.Cluster]; ok && native != nil {
		if extension, ok := native.Extensions[execExtension]; ok {
			cluster.Extensions = map[string]runtime.Object{execExtension: extension.DeepCopyObject()}
		}
	}
	target := cmp.Or(o.ContextName, name+"-tenancy")
	made = clientcmdapi.NewConfig()
	made.Clusters[target] = cluster
	made.AuthInfos[userName] = user.DeepCopy()
	made.Contexts[target] = &clientcmdapi.Context{
		Cluster: target, AuthInfo: userName, Namespace: cmp.Or(o.Namespace, context.Namespace),
	}
	made.CurrentContext = target
	return made, warnings, nil
}
