// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// idleControllers look after nodes, their pods and their volumes, which the
// control plane does not have: they would cost time, or call every node that a
// test makes unreachable.
func idleControllers() []string {
	return []string{
		"cloud-node-lifecycle-controller", "device-taint-eviction-controller",
		"horizontal-pod-autoscaler-controller", "node-ipam-controller", "node-lifecycle-controller",
		"node-route-controller", "persistentvolume-attach-detach-controller",
		"persistentvolume-expander-controller", "pod-garbage-collector-controller",
		"service-lb-controller", "taint-eviction-controller", "ttl-controller",
	}
}

func (cp *ControlPlane) startControllerManager(ctx context.Context, path string) error {
	kubeconfig, err := cp.Kubeconfig("system:kube-controller-manager")
	if err != nil {
		return err
	}
	file := filepath.Join(cp.config.Dir, "controller-manager.kubeconfig")
	if err := writeFile(file, kubeconfig); err != nil {
		return err
	}
	config, err := clusterClient(cp.Issuer)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	tlsConfig, err := clientTLS(cp.pki.cluster, "", "")
	if err != nil {
		return err
	}
	controllers := "*,-" + strings.Join(idleControllers(), ",-")
	cp.controllerManager, err = cp.startOnFreePorts(ctx, 1, func(ports []int) (ProcessSpec, error) {
		healthy := httpReady(tlsConfig, loopbackURL(ports[0])+"/healthz")
		return ProcessSpec{
			Name: controllerManagerName,
			Path: path,
			Args: append([]string{
				"--bind-address=" + loopbackHost,
				"--secure-port=" + strconv.Itoa(ports[0]),
				"--tls-cert-file=" + cp.pki.cert("controller-manager-serving"),
				"--tls-private-key-file=" + cp.pki.key("controller-manager-serving"),
				"--kubeconfig=" + file,
				"--authentication-kubeconfig=" + file,
				"--authorization-kubeconfig=" + file,
				"--root-ca-file=" + cp.pki.cluster.file,
				"--service-account-private-key-file=" + cp.pki.key("sa"),
				"--use-service-account-credentials",
				"--leader-elect=false",
				"--controllers=" + controllers,
				// Tests make and delete thousands of namespaces.
				"--kube-api-qps=500", "--kube-api-burst=1000",
				"--concurrent-namespace-syncs=20",
			}, cp.config.ExtraControllerManagerArgs...),
			Ready: func(ctx context.Context) error {
				if err := healthy(ctx); err != nil {
					return err
				}
				// Healthy is not working yet; this one is a controller's work.
				_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
				return err
			},
		}, nil
	})
	return err
}
