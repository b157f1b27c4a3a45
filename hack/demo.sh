#!/usr/bin/env bash
# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# A tour of what "make up" started. It prints each command before its output; a
# command that is meant to be refused has to be. It may be run again: what an
# earlier run made is deleted first.

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

# await WANT COMMAND...: waits until the output holds WANT; RBAC reaches the view
# by a watch.
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

bold "An administrator makes namespaces, and RoleBindings in them: ordinary RBAC."
as admin
namespaces=(oil-prod oil-dev gas-prod wind-prod)
kubectl delete namespace "${namespaces[@]}" --ignore-not-found >/dev/null
for namespace in "${namespaces[@]}"; do
    run kubectl create namespace "${namespace}"
    run kubectl label namespace "${namespace}" "capsule.clastix.io/tenant=${namespace%-*}"
done
run kubectl create rolebinding owner -n oil-prod --clusterrole=admin --user=alice
run kubectl create rolebinding owner -n oil-dev --clusterrole=admin --user=alice
run kubectl create rolebinding team -n gas-prod --clusterrole=view --group=capsule.clastix.io

bold "And what else a cluster has: nodes, volumes, classes and Tenants, with one ClusterRole of what alice may get."
run kubectl apply -f hack/demo/objects.yaml
run kubectl apply -f test/framework/testdata/tenants.yaml
kubectl wait --for=condition=Established --timeout=30s crd/tenants.capsule.clastix.io >/dev/null
run kubectl apply -f hack/demo/tenants.yaml
await gas-prod kubectl --kubeconfig .run/kubeconfig/bob.kubeconfig get tenantnamespaces
await oil-dev kubectl --kubeconfig .run/kubeconfig/alice.kubeconfig get tenantnamespaces

bold "alice may get some namespaces, but Kubernetes cannot list them for her."
as alice
refused Forbidden kubectl get namespaces

bold "The view lists exactly what she may get, with the kubeconfig she has."
run kubectl get tenantnamespaces
run kubectl get tns -o wide
run kubectl get tns -l capsule.clastix.io/tenant=oil
run kubectl get tns oil-prod -o yaml
refused NotFound kubectl get tns wind-prod

bold "So do the views of every kind that is not in a namespace."
refused Forbidden kubectl get nodes
await oil kubectl get mytenants
run kubectl get tenancy

bold "bob is in the same group and owns nothing himself."
as bob
run kubectl get tenantnamespaces

bold "It is an API like any other."
as alice
run kubectl explain tenantnamespaces.status
run kubectl auth can-i list tenantnamespaces
run kubectl api-resources --api-group=tenancy.capsule.io

bold "What is revoked is gone from the next list on."
as admin
run kubectl delete rolebinding owner -n oil-dev
as alice
await NotFound kubectl get tns oil-dev
refused NotFound kubectl get tns oil-dev
run kubectl get tenantnamespaces

bold "An open watch follows grants and revocations: it is the same connection all the time."
as alice
watched="$(mktemp)" requests="$(mktemp)"
printf '\n%s$ %s\n' "${user}" "kubectl get tns -l capsule.clastix.io/tenant=wind --watch --output-watch-events"
# -v=6 tells when the watch is open.
kubectl get tns -l capsule.clastix.io/tenant=wind --watch --output-watch-events -v=6 >"${watched}" 2>"${requests}" &
watch=$!
trap 'kill "${watch}" 2>/dev/null || true; rm -f "${watched}" "${requests}"' EXIT
await watch=true cat "${requests}"
as admin
run kubectl create rolebinding guest -n wind-prod --clusterrole=view --user=alice
await ADDED cat "${watched}"
run kubectl delete rolebinding guest -n wind-prod
await DELETED cat "${watched}"
kill -0 "${watch}" # it has not ended, nor begun again
printf '\nwhat the watch told alice:\n'
cat "${watched}"
kill "${watch}"

bold "The control plane is still running. Go on with:"
printf '  bin/k8s/kubectl --kubeconfig .run/kubeconfig/alice.kubeconfig get tenancy\n  make down\n'
