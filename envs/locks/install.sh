#!/usr/bin/env bash
# install.sh NAME: what pip installs in pathduet-NAME, exactly as locked, if PATHDUET_LOCKED is set or nothing was installed
# yet (as after `conda create --file X.pin.txt`, which leaves pip's part out). Called by envs/NAME.post-deploy.sh.
set -euo pipefail
if [ -z "${PATHDUET_LOCKED:-}" ] && python -c 'import numpy' 2>/dev/null; then exit 0; fi
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-64 ;;
  Linux-aarch64) platform=linux-aarch64 ;;
  Darwin-arm64) platform=osx-arm64 ;;
  *) echo "no lock for $(uname -s) on $(uname -m): unset PATHDUET_LOCKED" >&2; exit 1 ;;
esac
echo "pathduet-$1: as locked in envs/locks/$1.$platform.txt"
pip install --no-deps --require-hashes --quiet -r "$(dirname "$0")/$1.$platform.txt"
