#!/usr/bin/env bash

# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Puts etcd, kube-apiserver, kube-controller-manager and kubectl into bin/k8s,
# built from the sources that hack/controlplane/go.mod pins. What is there and
# newer than that go.mod is left alone.
#
# Where KUBEBUILDER_ASSETS names a folder with etcd and kube-apiserver, its
# binaries are linked to instead, and only what it lacks is built.

set -o errexit
set -o nounset
set -o pipefail

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
MODULE_DIR="${REPO_ROOT}/hack/controlplane"
BIN_DIR="${REPO_ROOT}/bin/k8s"

# name:package. etcd's main package is the root of its server module.
BINARIES=(
    etcd:go.etcd.io/etcd/server/v3
    kube-apiserver:k8s.io/kubernetes/cmd/kube-apiserver
    kube-controller-manager:k8s.io/kubernetes/cmd/kube-controller-manager
    kubectl:k8s.io/kubernetes/cmd/kubectl
)

# asset prints the path of a binary in KUBEBUILDER_ASSETS, if that folder is to
# be used and holds it. A folder with one half of a control plane is ignored:
# two builds of different versions would then be mixed.
asset() {
    local dir="${KUBEBUILDER_ASSETS:-}"
    if [[ -n "${dir}" && -x "${dir}/etcd" && -x "${dir}/kube-apiserver" && -x "${dir}/$1" ]]; then
        echo "$(cd "${dir}" && pwd -P)/$1"
    fi
}

# up_to_date tells whether a binary was built from the present go.mod. A link is
# left from a run with KUBEBUILDER_ASSETS and is not.
up_to_date() {
    [[ -x "$1" && ! -L "$1" && ! "${MODULE_DIR}/go.mod" -nt "$1" ]]
}

# ldflags prints the linker's flags: no debug information, and the version.
# Unstamped binaries call themselves v0.0.0-master, which kubectl cannot parse.
ldflags() {
    local version="$1" major minor pkg
    IFS=. read -r major minor _ <<<"${version#v}"
    printf '%s' "-s -w"
    for pkg in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf ' -X %s' \
            "${pkg}.gitVersion=${version}" \
            "${pkg}.gitMajor=${major}" \
            "${pkg}.gitMinor=${minor}" \
            "${pkg}.gitTreeState=clean" \
            "${pkg}.gitCommit=unknown" \
            "${pkg}.buildDate=1970-01-01T00:00:00Z"
    done
}

mkdir -p "${BIN_DIR}"

todo=()
for binary in "${BINARIES[@]}"; do
    name="${binary%%:*}"
    target="${BIN_DIR}/${name}"
    from_assets="$(asset "${name}")"
    if [[ -n "${from_assets}" && "${from_assets}" != "${target}" ]]; then
        if [[ "$(readlink "${target}" || true)" != "${from_assets}" ]]; then
            echo "controlplane: ${name} from ${from_assets}"
            ln -sfn "${from_assets}" "${target}"
        fi
    elif ! up_to_date "${target}"; then
        todo+=("${binary}")
    fi
done

if [[ "${#todo[@]}" -eq 0 ]]; then
    exit 0
fi

cd "${MODULE_DIR}"
version="$(go list -m -f '{{.Version}}' k8s.io/kubernetes)"
flags="$(ldflags "${version}")"

echo "controlplane: building ${#todo[@]} of ${#BINARIES[@]} binaries of Kubernetes ${version} from source."
echo "controlplane: with an empty build cache this takes about 6 minutes on 2 cores."

count=0
for binary in "${todo[@]}"; do
    name="${binary%%:*}"
    count=$((count + 1))
    echo "controlplane: [${count}/${#todo[@]}] compiling ${name}"
    started="${SECONDS}"
    # Built aside and moved: an interrupted build leaves no half a binary, and a
    # running one can be replaced.
    go build -trimpath -ldflags "${flags}" -o "${BIN_DIR}/.${name}.new" "${binary#*:}"
    mv -f "${BIN_DIR}/.${name}.new" "${BIN_DIR}/${name}"
    echo "controlplane: [${count}/${#todo[@]}] ${name} done in $((SECONDS - started)) s"
done
echo "controlplane: ready in ${BIN_DIR}"
