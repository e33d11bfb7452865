#!/usr/bin/env bash
# The package itself, from the checkout that Snakemake runs in; its dependencies stand in the environment file.
set -euo pipefail
pip install --no-deps --no-build-isolation -e "$PWD"
