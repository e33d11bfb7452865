#!/usr/bin/env bash
# The package itself, from the checkout the workflow comes from; its dependencies stand in the environment file.
set -euo pipefail
pip install --no-deps --no-build-isolation --quiet -e "${PATHDUET_CHECKOUT:-$PWD}"
