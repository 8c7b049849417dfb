#!/usr/bin/env bash
# The package for Python: a wheel, installed into a fresh environment, and its tests. Says "skipped" and why where there is
# no CPython 3.11 or no package index.
#
#   ci/python.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  { echo "python: skipped: $python is not CPython 3.11 or later (PYTHON=... chooses another)"; exit 0; }
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  { echo "python: skipped: $python makes no virtual environments (python3-venv of Debian)"; exit 0; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps -d "$place" 'maturin>=1.9,<2' 2>/dev/null ||
  { echo "python: skipped: the package index cannot be reached"; exit 0; }
timeout 1200 python/run test -q "$@"
