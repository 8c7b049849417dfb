#!/usr/bin/env bash
# Randomised models (shuttle) of whole programs, with their planted faults.
# Longer: CONTEMPO_SCHEDULES=100000 ci/shuttle.sh; elsewhere: CONTEMPO_SEED=7 ci/shuttle.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_shuttle" CARGO_TARGET_DIR=target/shuttle RUST_BACKTRACE=0
export SHUTTLE_SILENCE_WARNINGS=1
timeout 600 cargo test -q -p contempo-core --profile checker --test shuttle --test shuttle_turns -- --nocapture --test-threads 1 "$@"
