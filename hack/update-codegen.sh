#!/usr/bin/env bash

# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Generates everything that is generated: zz_generated.* beside the types in
# apis/, generated/ (OpenAPI definitions, clientset, listers, informers), and the
# CustomResourceDefinitions in artifacts/base/crds/.
#
# Usage: hack/update-codegen.sh [DIRECTORY]
#
# DIRECTORY is the root of the module to generate in; verify-codegen.sh gives a
# copy of this one. hack/boilerplate.go.txt and hack/tools are always those
# beside this script.

set -o errexit
set -o nounset
set -o pipefail

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
TARGET_ROOT="$(cd "${1:-"${REPO_ROOT}"}" && pwd -P)"
MODULE="tenancy.capsule.io"
BOILERPLATE="${REPO_ROOT}/hack/boilerplate.go.txt"

# The generators are compiled where kube_codegen.sh looks for them; not in the
# user's GOBIN, whose generators may be another project's.
export GOBIN="${REPO_ROOT}/bin/codegen"
mkdir -p "${GOBIN}"

# kube_codegen.sh leaves reports behind in TMPDIR.
TMPDIR="$(mktemp -d)"
export TMPDIR
trap 'rm -rf "${TMPDIR}"' EXIT

# "go list" names the folder of a module only once it is in the module cache.
(cd "${REPO_ROOT}/hack/tools" && go mod download k8s.io/code-generator)
CODEGEN_PKG="$(cd "${REPO_ROOT}/hack/tools" && go list -m -f '{{.Dir}}' k8s.io/code-generator)"

# kube_codegen.sh asks "go list" for the import path of every folder of types,
# so it has to run inside the module that it generates for.
cd "${TARGET_ROOT}"
mkdir -p generated/{clientset,listers,informers,openapi}

# shellcheck source=/dev/null
source "${CODEGEN_PKG}/kube_codegen.sh"

# Packages that our types refer to. Their definitions are generated into ours,
# under the model names that they publish; nothing is written beside them.
OPENAPI_PKGS=(
    k8s.io/api/core/v1
    k8s.io/api/networking/v1
    k8s.io/api/node/v1
    k8s.io/api/scheduling/v1
    k8s.io/api/storage/v1
    k8s.io/apimachinery/pkg/api/resource
    k8s.io/apimachinery/pkg/util/intstr
)
KUBE_CODEGEN_READONLY_PKGS+=("${OPENAPI_PKGS[@]}")

openapi_args=()
for pkg in "${OPENAPI_PKGS[@]}"; do
    openapi_args+=(--extra-pkgs "${pkg}")
done

(cd "${REPO_ROOT}" && go run ./hack/viewgen "${TARGET_ROOT}/apis/tenancy/v1alpha1")

kube::codegen::gen_helpers \
    --boilerplate "${BOILERPLATE}" \
    "${TARGET_ROOT}/apis"

api_violations="${TMPDIR}/api-violations.list"
kube::codegen::gen_openapi \
    --output-dir "${TARGET_ROOT}/generated/openapi" \
    --output-pkg "${MODULE}/generated/openapi" \
    --output-model-name-file zz_generated.model_name.go \
    --report-filename "${api_violations}" \
    --update-report \
    --boilerplate "${BOILERPLATE}" \
    "${openapi_args[@]}" \
    "${TARGET_ROOT}/apis"

# The report names upstream's old sins as well. Only ours are to be mended.
if grep -F ",${MODULE}/" "${api_violations}"; then
    echo "error: the types in apis/ break the API conventions above" >&2
    exit 1
fi

kube::codegen::gen_client \
    --with-watch \
    --output-dir "${TARGET_ROOT}/generated" \
    --output-pkg "${MODULE}/generated" \
    --boilerplate "${BOILERPLATE}" \
    "${TARGET_ROOT}/apis"

# controller-gen is compiled beside the other generators.
(cd "${REPO_ROOT}/hack/tools" && go install sigs.k8s.io/controller-tools/cmd/controller-gen)
sed 's|^//|#|' "${BOILERPLATE}" >"${TMPDIR}/boilerplate.yaml"
"${GOBIN}/controller-gen" \
    "crd:headerFile=${TMPDIR}/boilerplate.yaml" \
    "paths=./apis/capsule/..." "paths=./apis/policy/..." \
    output:crd:dir=artifacts/base/crds
