#!/usr/bin/env bash
# Random programs with planted faults, on real threads: what the histories and the interpreter must catch. And
# moments in regions that are brought about from inside: deaths at one instruction, ends of epochs.
# One test: ci/seeded.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg contempo_fault" CARGO_TARGET_DIR=target/fault RUST_BACKTRACE=0
log=/dev/null
# What a whole run says is kept for ci/faults.sh.
[ $# -gt 0 ] || { mkdir -p target/checks; log=target/checks/seeded.log; }
inside=("$@")
[ $# -gt 0 ] || inside=(region::tests::deaths region::tests::emptying region::tests::lagging)
run() { timeout 900 cargo test -q --profile checker "$@" --nocapture --test-threads 1; }
{
  run --test seeded --test seeded_regions -- "$@"
  run -p contempo-core --lib --features region -- "${inside[@]}"
} | tee "$log"
