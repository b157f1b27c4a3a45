# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

# One target per binary:
#
#   docker build --target tenancy-apiserver --tag tenancy-apiserver .
#   docker build --target tenancy-controller --tag tenancy-controller .
#   docker build --target tenancy-proxy --tag tenancy-proxy .

# The compiler runs on the builder's platform and crosses to the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src

# The modules are a layer of their own: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download

COPY apis/ apis/
COPY cmd/ cmd/
COPY generated/ generated/
COPY pkg/ pkg/

ARG TARGETOS=linux
ARG TARGETARCH
# Static, so that the image needs nothing but the binary.
RUN CGO_ENABLED=0 GOOS="${TARGETOS}" GOARCH="${TARGETARCH}" \
    go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/...

# What every image holds: the roots that clients of public endpoints need, and a
# user by number, so that runAsNonRoot can be verified.
FROM scratch AS runtime
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM runtime AS tenancy-controller
COPY --from=build /out/tenancy-controller /tenancy-controller
ENTRYPOINT ["/tenancy-controller"]

FROM runtime AS tenancy-proxy
COPY --from=build /out/tenancy-proxy /tenancy-proxy
ENTRYPOINT ["/tenancy-proxy"]

FROM runtime AS tenancy-apiserver
COPY --from=build /out/tenancy-apiserver /tenancy-apiserver
ENTRYPOINT ["/tenancy-apiserver"]
