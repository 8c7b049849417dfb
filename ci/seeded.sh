#!/usr/bin/env bash
# Random programs with planted faults, on real threads: what the histories and the interpreter must catch.
# One test: ci/seeded.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_fault" CARGO_TARGET_DIR=target/fault RUST_BACKTRACE=0
log=/dev/null
# What a whole run says is kept for ci/faults.sh.
[ $# -gt 0 ] || { mkdir -p target/checks; log=target/checks/seeded.log; }
timeout 900 cargo test -q --profile checker --test seeded --test seeded_regions -- --nocapture --test-threads 1 "$@" | tee "$log"
