# Copyright The Capsule Tenancy Authors.
# SPDX-License-Identifier: Apache-2.0

SHELL := bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
# The order of prerequisites below is the order of the work; go and
# golangci-lint use all processors by themselves.
.NOTPARALLEL:

# Every Go module of the repository, the product's first.
MODULES := . hack/controlplane hack/tools hack/tools/golangci-lint hack/tools/helm

GOLANGCI_LINT := bin/tools/golangci-lint
GOTESTSUM := bin/tools/gotestsum
HELM := bin/tools/helm

# More flags for go test, as in: make test-unit TESTFLAGS='-run TestIndex -v'
TESTFLAGS ?=
# Arguments of the benchmark, as in: make bench BENCHFLAGS=--help
BENCHFLAGS ?=
# The version of the plugin's archives, and where they are going to be, in "make krew".
VERSION ?=
URL ?=
# The port of kube-apiserver in "make up" and "make demo"; a free one if empty.
APISERVER_PORT ?=
# The port of tenancy-proxy; if empty the one it has, 9001, or a free one.
PROXY_PORT ?=

##@ Try it

.PHONY: demo
demo: up ## Start everything and give a short tour with kubectl.
	hack/demo.sh

.PHONY: up
up: controlplane build ## Start a control plane with all of Capsule Tenancy. Takes APISERVER_PORT and PROXY_PORT.
	go run ./hack/cluster up $(if $(APISERVER_PORT),--apiserver-port $(APISERVER_PORT)) $(if $(PROXY_PORT),--proxy-port $(PROXY_PORT))

.PHONY: down
down: ## Stop what "make up" started.
	go run ./hack/cluster down

##@ Build

.PHONY: build
build: ## Compile the commands in cmd/ to bin/.
	go build -o bin/ ./cmd/...

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl to bin/k8s/. Takes KUBEBUILDER_ASSETS.
	@hack/build-controlplane.sh

.PHONY: krew
krew: ## Build the plugin of kubectl for every platform, and its krew manifest, to bin/krew/. Takes VERSION and URL.
	hack/krew.sh "$(VERSION)" "$(URL)"

.PHONY: tools
tools: $(GOLANGCI_LINT) $(GOTESTSUM) $(HELM) ## Build the pinned tools that lint and test need to bin/tools/.

$(GOLANGCI_LINT): hack/tools/golangci-lint/go.mod
	@echo "tools: compiling golangci-lint"
	@mkdir -p $(@D)
	cd $(<D) && go build -trimpath -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(GOTESTSUM): hack/tools/go.mod
	@echo "tools: compiling gotestsum"
	@mkdir -p $(@D)
	cd $(<D) && go build -trimpath -o $(CURDIR)/$@ gotest.tools/gotestsum
	@touch $@

$(HELM): hack/tools/helm/go.mod
	@echo "tools: compiling helm"
	@mkdir -p $(@D)
	cd $(<D) && go build -trimpath -o $(CURDIR)/$@ helm.sh/helm/v4/cmd/helm
	@touch $@

##@ Test

# The targets that run Go tests, with the race detector. Each leaves its events
# in bin/test/, from which test-summary counts them all.
define gotestsum
@mkdir -p bin/test && rm -f bin/test/$(1).json
$(GOTESTSUM) --format pkgname-and-test-fails --format-hide-empty-pkg --jsonfile bin/test/$(1).json -- -race $(2) $(TESTFLAGS) $(3)
endef

.PHONY: test
test: lint verify-codegen test-unit test-integration test-e2e test-summary ## All checks and tests.

.PHONY: test-unit
test-unit: $(GOTESTSUM) ## Unit tests: seconds, once compiled.
	$(call gotestsum,unit,-timeout 10m,./apis/... ./pkg/... ./cmd/... ./test/bench/...)

# Cached results say nothing about a control plane: -count=1. One package at a
# time: each starts control planes of its own.
.PHONY: test-integration
test-integration: $(GOTESTSUM) controlplane ## Tests of the control plane, of make up and make down, and of replicas of the controller.
	go build -race -o bin/race/ ./cmd/...
	$(call gotestsum,integration,-count=1 -p 1 -timeout 20m,./test/framework/... ./hack/cluster/...)

.PHONY: test-e2e
test-e2e: $(GOTESTSUM) $(HELM) controlplane ## Tests of the whole system, as users with kubectl, Helm and client-go see it.
	go build -race -o bin/race/ ./cmd/...
	$(call gotestsum,e2e,-count=1 -p 1 -timeout 30m,./test/e2e/... ./test/disruption/... ./test/tenants/... ./test/proxy/... ./test/plugin/... ./test/chaos/...)

.PHONY: test-summary
test-summary: $(GOTESTSUM) ## Count the tests that ran last, of every kind.
	@$(GOTESTSUM) --raw-command --format none -- cat bin/test/*.json

.PHONY: bench
bench: controlplane build ## Measure the performance budget, side by side with native requests. Takes BENCHFLAGS.
	go run ./test/bench --json bin/bench.json $(BENCHFLAGS)

##@ Check and generate

.PHONY: lint
lint: $(GOLANGCI_LINT) verify-tidy ## golangci-lint, shell syntax, tidy modules.
	@for script in hack/*.sh .ci/run; do bash -n "$$script"; done
	$(GOLANGCI_LINT) run ./...

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code as lint wants it.
	$(GOLANGCI_LINT) fmt ./...

.PHONY: generate
generate: ## Generate zz_generated.* in apis/, and generated/.
	hack/update-codegen.sh

.PHONY: verify-codegen
verify-codegen: ## Fail if generated code is stale.
	@hack/verify-codegen.sh

.PHONY: tidy
tidy: ## go mod tidy in every module.
	@for module in $(MODULES); do (cd "$$module" && go mod tidy); done

.PHONY: verify-tidy
verify-tidy: ## Fail if a module is not tidy.
	@for module in $(MODULES); do \
		(cd "$$module" && go mod tidy -diff) || { echo "error: $$module/go.mod is not tidy: run 'make tidy'" >&2; exit 1; }; \
	done

##@ Other

# bin/k8s stays: it takes minutes to build and depends on nothing but
# hack/controlplane/go.mod.
.PHONY: clean
clean: ## Stop what runs, remove its state and what was built, but for bin/k8s/.
	@if [[ -d .run ]]; then go run ./hack/cluster down; fi
	rm -rf .run
	@if [[ -d bin ]]; then find bin -mindepth 1 -maxdepth 1 ! -name k8s -exec rm -rf {} +; fi

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
