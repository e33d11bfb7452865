# make demo   raw slides to report on the phantom cohort      make test   all tests
# make quick  the everyday subset of the tests                 make lint   ruff, mypy, snakefmt, codespell, snakemake --lint
# Everything runs from .venv, which is made on first use with nothing but Python 3.11+.

PYTHON ?= python3
CORES ?= $(shell nproc)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Threads are dealt out by the workflow; libraries must not multiply them.
export OMP_NUM_THREADS ?= 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test quick lint docs vendor format install locks pan-cancer clean-demo
.DEFAULT_GOAL := demo

install: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up $(VENV) (a few minutes, several GB because of torch) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,onnx,timm,staintools,slurm,s3,tensorboard,crate,docs,dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/snakemake --cores $(CORES)

test: $(READY)
	@$(BIN)/pytest -n $(CORES) --dist loadfile

quick: $(READY)
	@$(BIN)/pytest -n $(CORES) --dist loadfile -m "not slow"

# Fourteen TCGA cohorts without slides: results/pan_cancer/table.md, figure.svg. PATHDUET_TEST_DATA names the tables.
pan-cancer: $(READY)
	@$(BIN)/python examples/pan_cancer/run.py --cores $(CORES)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules examples
	@$(BIN)/codespell
	@$(BIN)/snakemake --lint --configfile tests/workflow/lint.yaml

# The pinned OpenSeadragon again from npm, compared with its checksum (the file is in the repository).
vendor: $(READY)
	@$(BIN)/python -m pathduet.explain.viewer.vendor.fetch

# The documentation as a site in results/site, every link checked.
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -f docs/site/mkdocs.yml

# Exact versions and hashes of what pip installs in each conda environment, of this environment's versions: envs/locks.
locks: $(READY)
	@$(BIN)/python envs/refresh_locks.py

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile rules examples

clean-demo:
	rm -rf demo results
