#!/usr/bin/env bash
# Exhaustive models (loom) of the protocol, of sleeping and of reclamation, with their planted faults.
# One model: ci/loom.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_loom --cfg contempo_models" CARGO_TARGET_DIR=target/loom RUST_BACKTRACE=0
run() { # package, test binary, what else cargo is told
  timeout 1200 cargo test -q -p "$1" --profile checker --test "$2" "${@:3}" -- --nocapture --test-threads 1 "${filter[@]}"
}
# The same for models among the unit tests.
inside() { # package, module
  timeout 600 cargo test -q -p "$1" --profile checker --lib -- --nocapture --test-threads 1 "${filter[@]:-$2}"
}
filter=("$@")
log=/dev/null
# What a whole run says is kept for ci/faults.sh.
[ $# -gt 0 ] || { mkdir -p target/checks; log=target/checks/loom.log; }
{
  run contempo-sched loom_lock_queue
  run contempo-sched loom_ticket_queue
  run contempo-sched loom_signal
  run contempo-sched loom_clock
  run contempo-sched loom_watch
  run contempo-sched loom_watch_tasks
  run contempo-alloc loom
  run contempo-alloc loom_chains
  run contempo-alloc loom_slabs
  run contempo-alloc loom_superblocks --features region
  inside contempo-core local::chain::model
  run contempo-core loom_links --features region
  run contempo-core loom_recovery
  run contempo-core loom_twice
  run contempo-core loom_turns
  run contempo-core loom_stamps
  run contempo-core loom_tasks
  run contempo-core loom_looks
  run contempo-core loom
} | tee "$log"
