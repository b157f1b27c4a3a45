#!/usr/bin/env bash
# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Builds the archives of kubectl-tenancy for a release, and the manifest by which krew
# installs them, to bin/krew/. URL is where the archives are going to be.
#
# Usage: hack/krew.sh VERSION URL, such as
#   hack/krew.sh v1.2.3 https://downloads.example.com/v1.2.3
#
# PLATFORMS, "os/arch ...", builds less: the manifest then has what is left out unfilled.

set -o errexit -o nounset -o pipefail

if [[ $# -ne 2 || ! $1 =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]]; then
    echo "usage: hack/krew.sh VERSION URL, a version such as v1.2.3" >&2
    exit 2
fi
version="$1" url="${2%/}"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=bin/krew
rm -rf "${out}"
mkdir -p "${out}"
stage="$(mktemp -d)"
trap 'rm -rf "${stage}"' EXIT

fill=(-e "s|@VERSION@|${version}|g" -e "s|@URL@|${url}|g")
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}; do
    os="${platform%/*}" arch="${platform#*/}"
    binary=kubectl-tenancy
    if [[ ${os} == windows ]]; then binary+=.exe; fi
    echo "krew: building for ${platform}"
    CGO_ENABLED=0 GOOS="${os}" GOARCH="${arch}" go build -trimpath -o "${stage}/${binary}" \
        -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=${version}" ./cmd/kubectl-tenancy
    archive="${out}/kubectl-tenancy_${version}_${os}_${arch}.tar.gz"
    # The same sources make the same archive.
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        -cf - -C "${PWD}" LICENSE -C "${stage}" "${binary}" | gzip -n >"${archive}"
    rm "${stage}/${binary}"
    sum="$(sha256sum "${archive}")"
    fill+=(-e "s|@SHA256_${os}_${arch}@|${sum%% *}|")
done
sed "${fill[@]}" artifacts/krew/tenancy.yaml >"${out}/tenancy.yaml"
echo "krew: ${out}/tenancy.yaml"
