#!/usr/bin/env bash
# Coverage-guided fuzzing of random programs, by one thread against the interpreter and by three against
# the checker of histories: ci/fuzz.sh [SECONDS], half for each. What it finds stays in fuzz/artifacts
# and is replayed by: cargo +nightly fuzz run TARGET FILE
# Where the nightly toolchain or cargo-fuzz is missing, the committed corpus is replayed on stable.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}"
timeout 600 cargo test -q --test corpus -- --nocapture
skip() { echo "fuzz: the corpus holds; the rest is skipped: $1"; exit 0; }
cargo +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
cargo +nightly fuzz --version >/dev/null 2>&1 || skip "no cargo-fuzz (cargo install cargo-fuzz --locked)"
# Every block from the global allocator, so that AddressSanitizer sees each.
export RUSTFLAGS="--cfg contempo_system_heap" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
if ! timeout 600 cargo +nightly fuzz build >fuzz/build.log 2>&1; then
  tail -5 fuzz/build.log
  skip "the nightly toolchain does not build it here"
fi
for target in sequential parallel; do
  # What is new goes to a folder of its own, not among what is committed.
  mkdir -p "$CARGO_TARGET_DIR/corpus/$target"
  timeout $((seconds + 300)) cargo +nightly fuzz run "$target" "$CARGO_TARGET_DIR/corpus/$target" "fuzz/corpus/$target" -- \
    -max_total_time=$((seconds / 2)) -max_len=2000 -len_control=20 -print_final_stats=1 2>fuzz/run.log ||
    { tail -60 fuzz/run.log; exit 1; }
  echo "fuzz: $target: $(grep -oE 'Done [0-9]+ runs in [0-9]+ second' fuzz/run.log)s, $(grep -c . <(ls "$CARGO_TARGET_DIR/corpus/$target")) new inputs kept, nothing wrong"
done
