# Fairlead: `make` alone lists the targets.
# A bare machine needs python3 (3.11 or newer) and make; every target installs what else it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .fairlead/uv/bin/uv
BIN := .venv/bin
IMAGES := service operator mlflow
SHELL_SCRIPTS := .ci/run $(wildcard tools/*.sh)

export API_PORT ?= 8000
export MLFLOW_PORT ?= 5000
export KUBECONFIG := $(CURDIR)/.fairlead/kubeconfig
export KUBERNETES_VERSION

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*?## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-z-]+:.*?## / {printf "  make \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use it
.PHONY: up stack down status forward run
up: setup ## a real cluster with Fairlead on it, a trained model served by rolled pods; KUBERNETES_VERSION
	@$(BIN)/python -m tools.up
stack: setup ## make up, with Prometheus, KEDA and Jaeger beside Fairlead
	@$(BIN)/python -m tools.stack
down: ## take the cluster away again
	@$(PYTHON) -m tools.down
status: ## what runs on the cluster of `make up`
	@$(PYTHON) -m tools.status
forward: setup ## the API, MLflow, Prometheus, Grafana and Jaeger of the cluster at ports 8000, 5000, 9090, 3000, 16686
	@$(BIN)/python -m tools.forward
run: setup ## no cluster: MLflow (5000) and the API (8000) as local processes; API_PORT, MLFLOW_PORT
	@$(BIN)/python -m tools.run

##@ Prove it
.PHONY: test test-cluster bench lint audit
test: setup ## unit, integration, chart and control-plane tiers; COVERAGE=1 measures which lines they run
	@$(BIN)/python -m tools.tiers unit integration chart controlplane
test-cluster: setup ## the cluster tier, on the cluster of `make stack` (started if need be)
	@$(BIN)/python -m tools.tiers cluster
bench: setup ## serving rates beside MLServer, KServe, BentoML, MLflow and Ray Serve; BENCH='--help'
	@$(BIN)/python -m benchmarks.serving $(BENCH)
lint: setup ## ruff, mypy, import contracts, helm lint, kube-score, yamllint, shellcheck, actionlint, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/python -m tools.sync --check
	$(BIN)/python -m tools.lock --check
	$$($(BIN)/python -m tools.localcluster binaries helm)/helm lint --strict charts/fairlead
	$(BIN)/python -m tools.scored
	$$($(BIN)/python -m tools.localcluster binaries actionlint)/actionlint -shellcheck=$(BIN)/shellcheck
audit: setup ## asks an advisory service about everything that is pinned
	@$(PYTHON) -m tools.audit

##@ Change it
.PHONY: setup dev dev-operator format images pictures sync lock clean
setup: .venv/.done ## the virtual environment .venv, from pinned requirements
dev: setup ## make run, with the API started anew when a file of the service is saved; API_PORT, MLFLOW_PORT
	@$(BIN)/python -m tools.dev
dev-operator: setup ## the operator of `make up` from the sources, started anew when a file of it is saved
	@$(BIN)/python -m tools.dev_operator
format: setup ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
images: setup ## build the images and load them into the cluster, if one runs
	@$(BIN)/python -m tools.images build $(IMAGES) --load
pictures: setup ## the dashboards as pictures, from the Prometheus of `make stack`, into .fairlead/pictures
	@$(BIN)/python -m tools.pictures
sync: setup ## regenerate what is generated (copies in the chart, tables of values and metrics)
	@$(BIN)/python -m tools.sync
lock: setup ## compile requirements/*.txt from pyproject.toml
	@$(BIN)/python -m tools.lock
clean: ## remove .venv and all local state, but not a running cluster (make down does)
	rm -rf .venv .fairlead/api .fairlead/mlflow .mypy_cache .ruff_cache .pytest_cache

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Fairlead needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")'
	@echo "setup: uv $(UV_VERSION) into .fairlead/uv"
	@$(PYTHON) -m venv .fairlead/uv 2>/dev/null || { rm -rf .fairlead/uv; \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install -y python3-venv" >&2; exit 1; }
	@.fairlead/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.done: $(UV) pyproject.toml requirements/dev.txt setup.py $(wildcard service/fairlead_service/native/*.[ch])
	@$(PYTHON) -m tools.compiler
	@echo "setup: Python packages into .venv"
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python .venv --no-deps --editable .
	@touch $@
