// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// AuditPolicyFile is the audit policy's name in Config.Dir: servers beside
	// kube-apiserver may want the same.
	AuditPolicyFile = "audit-policy.yaml"

	serviceAccountIssuer = "https://kubernetes.default.svc.cluster.local"

	// auditPolicy records who asked what, and not the questions of probes.
	auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
- level: Metadata
`
)

func (cp *ControlPlane) startAPIServer(ctx context.Context, path string) error {
	policy := filepath.Join(cp.config.Dir, AuditPolicyFile)
	if err := writeFile(policy, []byte(auditPolicy)); err != nil {
		return err
	}
	start := func(ports []int) (ProcessSpec, error) {
		cp.Issuer = &Issuer{server: loopbackURL(ports[0]), ca: cp.pki.cluster, tokens: cp.tokens}
		ready, err := cp.apiServerReady()
		return ProcessSpec{
			Name:  apiServerName,
			Path:  path,
			Args:  append(cp.apiServerArgs(ports[0], policy), cp.config.ExtraAPIServerArgs...),
			Ready: ready,
			// It waits for watches to end, which the controllers keep open.
			StopTimeout: 2 * time.Second,
		}, err
	}
	var err error
	if port := cp.config.APIServerPort; port != 0 {
		if err := CheckPort(port); err != nil {
			return fmt.Errorf("start %s: %w", apiServerName, err)
		}
		var spec ProcessSpec
		if spec, err = start([]int{port}); err == nil {
			cp.apiServer, err = cp.AddProcess(ctx, spec)
		}
	} else {
		cp.apiServer, err = cp.startOnFreePorts(ctx, 1, start)
	}
	if err != nil {
		return err
	}
	return cp.supervisor.setServer(cp.Server())
}

func (cp *ControlPlane) apiServerArgs(port int, auditPolicy string) []string {
	return []string{
		"--bind-address=" + loopbackHost,
		"--secure-port=" + strconv.Itoa(port),
		"--advertise-address=" + loopbackHost,
		// Endpoints must not be loopback addresses, so there are none.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + cp.pki.cert("apiserver"),
		"--tls-private-key-file=" + cp.pki.key("apiserver"),

		"--etcd-servers=" + cp.etcdURL,
		"--etcd-cafile=" + cp.pki.etcd.file,
		"--etcd-certfile=" + cp.pki.cert("etcd-client"),
		"--etcd-keyfile=" + cp.pki.key("etcd-client"),

		"--authorization-mode=Node,RBAC",
		"--client-ca-file=" + cp.pki.cluster.file,
		"--authentication-config=" + filepath.Join(cp.config.Dir, authenticationFile),
		"--requestheader-client-ca-file=" + cp.pki.frontProxy.file,
		"--requestheader-allowed-names=" + frontProxyUser,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + cp.pki.cert(frontProxyUser),
		"--proxy-client-key-file=" + cp.pki.key(frontProxyUser),

		"--service-account-issuer=" + serviceAccountIssuer,
		"--service-account-key-file=" + cp.pki.serviceAccountPublicKey(),
		"--service-account-signing-key-file=" + cp.pki.key("sa"),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--allow-privileged=true",

		"--audit-policy-file=" + auditPolicy,
		"--audit-log-path=" + cp.AuditLog(),
		"--audit-log-maxsize=200",
		"--audit-log-maxbackup=2",
	}
}

// apiServerReady asks for readiness and for what comes soon after it: the server
// takes tokens, and has made the namespace "default", which kubectl, and every
// client, needs.
func (cp *ControlPlane) apiServerReady() (func(context.Context) error, error) {
	config, err := clusterClient(cp.Issuer)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	bearer, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	return func(ctx context.Context) error {
		// A ready server may not have read the issuer's keys yet, so it is asked
		// by one with a token. A restart may be days later: the token is new.
		token, err := cp.Token("readiness-probe", nil, time.Minute)
		if err != nil {
			return err
		}
		request := bearer.Discovery().RESTClient().Get().AbsPath("/readyz").SetHeader("Authorization", "Bearer "+token)
		if err := request.Do(ctx).Error(); err != nil {
			return err
		}
		_, err = client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	}, nil
}
