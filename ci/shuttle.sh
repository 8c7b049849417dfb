#!/usr/bin/env bash
# Randomised models (shuttle) of whole programs, with their planted faults.
# Longer: CONTEMPO_SCHEDULES=100000 ci/shuttle.sh; elsewhere: CONTEMPO_SEED=7 ci/shuttle.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_shuttle --cfg contempo_models" CARGO_TARGET_DIR=target/shuttle RUST_BACKTRACE=0
export SHUTTLE_SILENCE_WARNINGS=1
log=/dev/null
# What a whole run says is kept for ci/faults.sh.
[ $# -gt 0 ] || { mkdir -p target/checks; log=target/checks/shuttle.log; }
timeout 600 cargo test -q -p contempo-core --profile checker --test shuttle --test shuttle_phases --test shuttle_turns \
  --test shuttle_tasks -- \
  --nocapture --test-threads 1 "$@" | tee "$log"
