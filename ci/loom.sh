#!/usr/bin/env bash
# Exhaustive models (loom) of the protocol, of sleeping and of reclamation, with their planted faults.
# One model: ci/loom.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_loom" CARGO_TARGET_DIR=target/loom RUST_BACKTRACE=0
for package in contempo-sched contempo-alloc contempo-core; do
  timeout 600 cargo test -q -p "$package" --profile checker --test loom -- --nocapture --test-threads 1 "$@"
done
