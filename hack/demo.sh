#!/usr/bin/env bash
# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# A tour of what "make up" started, with the Tenants of artifacts/examples. It prints
# each command before its output; a command that is meant to be refused has to be. It
# may be run again: what an earlier run made is deleted first.

set -o errexit -o nounset -o pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="${PWD}/bin/k8s:${PATH}"
export KUBECONFIG

bold() { if [[ -t 1 ]]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n# %s\n' "$*"; fi; }

# as NAME: the kubeconfig that the commands below use.
as() { KUBECONFIG="${PWD}/.run/kubeconfig/$1.kubeconfig"; user="$1"; }

run() {
    printf '\n%s$ %s\n' "${user}" "$*"
    "$@"
}

# refused ERROR COMMAND...: the command has to fail, with that error.
refused() {
    local want="$1" output
    shift
    printf '\n%s$ %s\n' "${user}" "$*"
    if output="$("$@" 2>&1)"; then
        printf '%s\nerror: this should have been refused: %s\n' "${output}" "${want}" >&2
        exit 1
    fi
    printf '%s\n' "${output}"
    if [[ "${output}" != *"${want}"* ]]; then
        printf 'error: this should have been refused with: %s\n' "${want}" >&2
        exit 1
    fi
}

# await WANT COMMAND...: waits until the output holds WANT; what is compiled to RBAC
# reaches the view by a watch.
await() {
    local want="$1"
    shift
    for _ in {1..100}; do
        if [[ "$("$@" 2>&1)" == *"${want}"* ]]; then
            return
        fi
        sleep 0.1
    done
    printf 'error: "%s" did not come to hold: %s\n' "$*" "${want}" >&2
    exit 1
}

examples=artifacts/examples

# clean: Tenants take their namespaces along.
clean() {
    kubectl delete tenants.capsule.clastix.io --all >/dev/null
    kubectl wait --for=delete --timeout=60s namespaces -l capsule.clastix.io/tenant >/dev/null
    # The controller makes it again, with the defaults.
    kubectl delete capsuleconfiguration default --ignore-not-found >/dev/null
    await Succeeded kubectl get capsuleconfiguration default -o yaml
}

as admin
clean

bold "A cluster has nodes, volumes and classes. An administrator makes Tenants of it: oil, gas and solar are alice's."
run kubectl apply -f ${examples}/nodes.yaml -f ${examples}/storageclasses.yaml -f ${examples}/ingressclasses.yaml \
    -f ${examples}/priorityclasses.yaml -f ${examples}/runtimeclasses.yaml -f ${examples}/persistentvolumes.yaml
run kubectl apply -f ${examples}/tenants-alice.yaml -f ${examples}/oil.yaml
await True kubectl get tenant oil -o wide
run kubectl get tenants

bold "alice owns them, and makes namespaces herself. Whose a namespace is, its name says."
as alice
run kubectl create namespace oil-production
run kubectl create namespace gas-marketing
refused 'begin namespace "production" with the name of one of them' kubectl create namespace production

bold "Kubernetes cannot list her namespaces for her. The view lists exactly those that she may get, with the kubeconfig she has."
refused Forbidden kubectl get namespaces
await gas-marketing kubectl get tenantnamespaces
await oil-production kubectl get tenantnamespaces
run kubectl get tenantnamespaces
run kubectl get tns -l capsule.clastix.io/tenant=oil -o wide
refused NotFound kubectl get tns kube-system

bold "So do the views of all that is not in a namespace: what the Tenants select by labels, names and patterns."
refused Forbidden kubectl get nodes
await silver kubectl get tenancy
run kubectl get tenancy

bold "Or natively: tenancy-proxy, in front of the API server, asks the view where that refuses. The same credential, another server."
as alice-proxy
await gas-marketing kubectl get namespaces
run kubectl get namespaces
run kubectl get nodes,storageclasses
refused NotFound kubectl get namespace kube-system
run kubectl create configmap greeting -n oil-production --from-literal=hello=world
refused Forbidden kubectl delete node capsule-gold-qwerty

bold "It is ordinary RBAC, with names: what is listed can be got natively, and anybody can read why."
as alice
run kubectl get node capsule-gold-qwerty
refused Forbidden kubectl get node capsule-silver-uiop
run kubectl auth can-i delete namespaces/oil-production -n oil-production
as admin
run kubectl get clusterroles,clusterrolebindings -l capsule.clastix.io/tenant
run kubectl get rolebindings -n oil-production

bold "In her namespaces alice is admin. She shares what she sees of solar with bob."
as alice
run kubectl create namespace solar-production
await yes kubectl auth can-i create proxysettings.capsule.clastix.io -n solar-production
run kubectl apply -f ${examples}/proxysetting.yaml
as bob
await custom kubectl get tenantstorageclasses
run kubectl get tenantnodes,tenantstorageclasses
run kubectl auth can-i get nodes/capsule-gold-qwerty

bold "An open watch follows what is given and taken: it is the same connection all the time."
as bob
watched="$(mktemp)" requests="$(mktemp)"
printf '\n%s$ %s\n' "${user}" "kubectl get tno --watch --output-watch-events"
# -v=6 tells when the watch is open.
kubectl get tno --watch --output-watch-events -v=6 >"${watched}" 2>"${requests}" &
watch=$!
trap 'kill "${watch}" 2>/dev/null || true; rm -f "${watched}" "${requests}"' EXIT
await watch=true cat "${requests}"
# What has changed within the last minutes is told again.
sleep 1
told="$(wc -l <"${watched}")"
news() { tail -n +"$((told + 1))" "${watched}"; }
as alice
run kubectl delete -f ${examples}/proxysetting.yaml
await DELETED news
run kubectl apply -f ${examples}/proxysetting.yaml
await ADDED news
kill -0 "${watch}" # it has not ended, nor begun again
printf '\nwhat the watch told bob meanwhile:\n'
news
kill "${watch}"

bold "Users may as well be those of an identity provider, whose groups have GUIDs for names."
as admin
run kubectl apply -f ${examples}/capsuleconfiguration-aks.yaml -f ${examples}/tenant-aks.yaml
await True kubectl get tenant dev -o wide
await 03c9ccac kubectl get clusterrolebinding capsule-namespace-provisioner -o yaml
as capsule-user-dev@example.com
run kubectl auth whoami
refused 'dev-' kubectl create namespace demo
run kubectl create namespace dev-demo
await dev-demo kubectl get tns
run kubectl get tns
as capsule-user-dev@example.com-proxy
await dev-demo kubectl get namespaces
run kubectl get namespaces
as capsule-user-dev@example.com
refused Forbidden kubectl get pods -n default
run kubectl auth can-i create deployments -n dev-demo

bold "It is an API like any other."
run kubectl explain tenantnamespaces.status
run kubectl api-resources --api-group=tenancy.capsule.io

bold "What is revoked is gone: an administrator takes gas from alice."
as admin
run kubectl patch tenant gas --type=json -p '[{"op":"replace","path":"/spec/owners/0/name","value":"bob"}]'
as alice
await NotFound kubectl get tns gas-marketing
refused NotFound kubectl get tns gas-marketing
as bob
await gas-marketing kubectl get tns
run kubectl get tns
as admin
run kubectl delete capsuleconfiguration default

bold "The control plane is still running. Go on with:"
printf '  bin/k8s/kubectl --kubeconfig .run/kubeconfig/%s\n' 'alice.kubeconfig get tenancy' 'alice-proxy.kubeconfig get namespaces'
printf '  make down\n'
