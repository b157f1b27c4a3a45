#!/usr/bin/env bash

# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Fails when generated code does not match the types it is generated from. The
# generation runs in a copy, so that the working tree stays as it is.

set -o errexit
set -o nounset
set -o pipefail

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "${REPO_ROOT}"

# The paths that update-codegen.sh reads and writes.
GENERATED=(apis generated artifacts/base/crds)

copy="$(mktemp -d)"
trap 'rm -rf "${copy}"' EXIT
tar -cf - go.mod go.sum "${GENERATED[@]}" | tar -xf - -C "${copy}"

# A stale file whose type is gone would survive in the copy as well.
rm -rf "${copy}/generated"
find "${copy}/apis" -name 'zz_generated.*' -delete
find "${copy}/artifacts/base/crds" -name '*.io_*.yaml' -delete

# The generators' progress matters only when they fail.
if ! hack/update-codegen.sh "${copy}" >"${copy}/log" 2>&1; then
    cat "${copy}/log" >&2
    echo "error: hack/update-codegen.sh failed" >&2
    exit 1
fi

stale=0
for path in "${GENERATED[@]}"; do
    diff -Naupr "${path}" "${copy}/${path}" || stale=1
done
if [[ "${stale}" -ne 0 ]]; then
    echo "error: generated code is stale: run 'make generate' and commit the result" >&2
    exit 1
fi
echo "generated code is up to date"
