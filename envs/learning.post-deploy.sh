#!/usr/bin/env bash
# The package itself, linked to where this workflow's one is; its dependencies stand in the environment file, locked versions of
# them in envs/locks.
set -euo pipefail
bash "$PATHDUET_WORKFLOW/envs/locks/install.sh" learning
ln -sfn "$PATHDUET_PACKAGE" "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pathduet"
