# make demo   raw slides to report on the phantom cohort      make test   all tests
# make quick  the everyday subset of the tests                 make lint   ruff, mypy, snakefmt, codespell, snakemake --lint
# Everything runs from .venv, which is made on first use with nothing but Python 3.11+.

PYTHON ?= python3
CORES ?= $(shell nproc)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
DEMO := $(VENV)/.demo
DEV := $(VENV)/.dev
DEV_EXTRAS := demo timm staintools seurat-v3 umap parquet slurm s3 tensorboard mlflow crate docs dev
# Behind a proxy with a certificate of its own: the system's certificates, which pip uses too.
export UV_SYSTEM_CERTS ?= true
# Inexact: what else is in .venv stays.
SYNC := VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --frozen --inexact --compile-bytecode
# Threads are dealt out by the workflow; libraries must not multiply them.
export OMP_NUM_THREADS ?= 1
# Compiled modules are kept: compiling all tests again takes a third of `make quick`'s start.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test quick lint docs vendor format install install-dev locks pan-cancer gpu-check clean-demo
.DEFAULT_GOAL := demo

# What a run and the demo need (docs/installation.md), and what tests, lint and documentation need beside it: as locked in uv.lock.
install: $(DEMO)

install-dev: $(DEV)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(DEMO): pyproject.toml uv.lock | $(UV)
	@echo "Setting up $(VENV) (a few minutes, 6 GB because of torch and CUDA) ..."
	@$(SYNC) --extra demo
	@touch $@

$(DEV): pyproject.toml uv.lock | $(UV)
	@echo "Setting up $(VENV) with what tests, lint and documentation need (a few minutes, 7 GB because of torch and CUDA) ..."
	@$(SYNC) $(addprefix --extra ,$(DEV_EXTRAS))
	@touch $(DEMO) $@

demo: $(DEMO)
	@$(BIN)/snakemake --cores $(CORES)

test: $(DEV)
	@$(BIN)/pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

quick: $(DEV)
	@$(BIN)/pytest -n $(CORES) --dist loadfile -m "not slow"

# Fourteen TCGA cohorts without slides: results/pan_cancer/table.md, figure.svg. PATHDUET_TEST_DATA names the tables.
pan-cancer: $(DEV)
	@$(BIN)/python examples/pan_cancer/run.py --cores $(CORES)

# Every path that a GPU takes, compared with the CPU and timed: docs/results/gpu.md.
gpu-check: $(DEV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch  # its triton, which uv.lock leaves out
	@$(BIN)/python benchmarks/gpu_check.py --out docs/results/gpu.md

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules examples
	@$(BIN)/codespell
	@$(BIN)/snakemake --lint --configfile tests/workflow/lint.yaml

# The pinned OpenSeadragon again from npm, compared with its checksum (the file is in the repository).
vendor: $(DEV)
	@$(BIN)/python -m pathduet.explain.viewer.vendor.fetch

# The documentation as a site in results/site, every link checked.
docs: $(DEV)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -f docs/site/mkdocs.yml

# Exact versions and hashes: uv.lock for this environment, envs/locks for the conda environments, of this environment's versions.
locks: $(DEV)
	@$(BIN)/uv lock --quiet
	@$(BIN)/python envs/refresh_locks.py

format: $(DEV)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile rules examples

clean-demo:
	rm -rf demo results
