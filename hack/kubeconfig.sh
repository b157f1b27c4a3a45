#!/usr/bin/env bash

# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# Writes .run/kubeconfig/NAME.kubeconfig, with a client certificate for the user
# NAME in the groups given, and prints its path. The control plane of "make up"
# must be running.
#
# With --oidc, which comes before the name, the file has a token of the control plane's
# OpenID Connect issuer instead. It is valid for 24 hours; run the command again
# for another.
#
# With --proxy, likewise, the server is tenancy-proxy, and the file is
# .run/kubeconfig/NAME-proxy.kubeconfig.
#
# Usage: hack/kubeconfig.sh [--proxy] [--oidc] NAME [GROUP...]

set -o errexit
set -o nounset
set -o pipefail

flags=()
while [[ ${1:-} == --oidc || ${1:-} == --proxy ]]; do
  flags+=("$1")
  shift
done
if [[ $# -eq 0 ]]; then
  echo "usage: hack/kubeconfig.sh [--proxy] [--oidc] NAME [GROUP...]" >&2
  echo "with --proxy: of tenancy-proxy, instead of the API server" >&2
  echo "with --oidc: by a token, valid for 24 hours, instead of a client certificate" >&2
  exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec go run ./hack/cluster kubeconfig "${flags[@]}" -- "$@"
