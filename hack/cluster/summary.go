// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// summary says what runs and how it is used. proxy is where the proxy serves, empty if
// there is none.
func summary(l deployment.Layout, st status, o upOptions, proxy string, out printer) {
	kubectl := "kubectl"
	if path, err := controlplane.FindBinary("", "kubectl"); err == nil {
		kubectl = path
	}
	resource := "namespaces"
	if !o.controlPlaneOnly {
		resource = "tenancy"
	}
	out.printf(`
The control plane is up at %s

  admin  %s
  alice  %s
  bob    %s
  dev    %s
  logs   %s
`, st.URL, short(l.Kubeconfig(deployment.AdminName)), short(l.Kubeconfig("alice")), short(l.Kubeconfig("bob")),
		short(l.Kubeconfig(deployment.DevName)), short(l.Logs()))
	flags := "[--oidc]"
	if proxy != "" {
		flags = "[--proxy] [--oidc]"
		out.printf(`
and tenancy-proxy, for native paths, at %s

  alice  %s
  bob    %s
  dev    %s
`, proxy, short(l.ProxyKubeconfig("alice")), short(l.ProxyKubeconfig("bob")), short(l.ProxyKubeconfig(deployment.DevName)))
	}
	out.printf("\nTry:            %s --kubeconfig %s get %s\n", short(kubectl), short(l.Kubeconfig("alice")), resource)
	if proxy != "" {
		out.printf("                %s --kubeconfig %s get namespaces\n", short(kubectl), short(l.ProxyKubeconfig("alice")))
	}
	out.printf(`Another user:   hack/kubeconfig.sh %s NAME [GROUP...]
Stop:           make down
`, flags)
}

// short is the path relative to the working directory where it is below it.
func short(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}
