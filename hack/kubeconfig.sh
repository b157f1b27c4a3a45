#!/usr/bin/env bash

# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Writes .run/kubeconfig/NAME.kubeconfig, with a client certificate for the user
# NAME in the groups given, and prints its path. The control plane of "make up"
# must be running.
#
# Usage: hack/kubeconfig.sh NAME [GROUP...]

set -o errexit
set -o nounset
set -o pipefail

if [[ $# -eq 0 ]]; then
  echo "usage: hack/kubeconfig.sh NAME [GROUP...]" >&2
  exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec go run ./hack/cluster kubeconfig -- "$@"
