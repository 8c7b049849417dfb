#!/usr/bin/env bash
# The selectable parts under the same tests: versions reclaimed through crossbeam-epoch, and stamps
# from the time-stamp counter (the tests that decide correctness; others count what is held).
set -euo pipefail
cd "$(dirname "$0")/.."
timeout 900 cargo test -q -p contempo -p contempo-core --features contempo/reclaim-epoch --tests
timeout 900 cargo test -q --features clock-tsc --test conformance --test history --test model --test collections
timeout 900 cargo test -q --features clock-tsc --test local -- cells:: drops:: single_cell:: snapshots:: transactions::
