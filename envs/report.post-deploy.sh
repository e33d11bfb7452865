#!/usr/bin/env bash
# The package itself, from the checkout the workflow comes from; its dependencies stand in the environment file, locked
# versions of them in envs/locks.
set -euo pipefail
checkout="${PATHDUET_CHECKOUT:-$PWD}"
bash "$checkout/envs/locks/install.sh" report
pip install --no-deps --no-build-isolation --quiet -e "$checkout"
