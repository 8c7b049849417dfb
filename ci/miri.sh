#!/usr/bin/env bash
# Miri over two threads that do a little of everything (stm-core/tests/two_threads.rs), over the end of a thread in the
# middle of a transaction, and over what drops what users give us. Miri sees what is undefined, plays weak
# memory, and interleaves by a seed. It is first shown to report a planted fault: a version that is freed at
# once. Skipped, and says so, where a nightly toolchain with Miri is missing:
# rustup component add --toolchain nightly miri rust-src
# More seeds: ci/miri.sh 100
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-4}
if ! cargo +nightly miri --version >/dev/null 2>&1; then
  echo "miri: skipped: no nightly toolchain with Miri"
  exit 0
fi
export CARGO_TARGET_DIR="target/miri" RUST_BACKTRACE=0
mkdir -p target
if ! cargo +nightly miri setup >target/miri.log 2>&1; then
  tail -3 target/miri.log
  echo "miri: skipped: the standard library is not built for it here (is rust-src installed?)"
  exit 0
fi
miri() { timeout 900 cargo +nightly miri test -q "$@"; }

export RUSTFLAGS="--cfg contempo_fault"
if CONTEMPO_FAULT=FreeAtOnce MIRIFLAGS="-Zmiri-env-forward=CONTEMPO_FAULT" \
  miri -p contempo-core --test two_threads an_old_version >target/miri.log 2>&1 ||
  ! grep -q "Undefined Behavior" target/miri.log; then
  tail -20 target/miri.log
  echo "miri: does not report a planted use after free"
  exit 1
fi
echo "miri: reports the planted fault: $(grep -m1 -o "Undefined Behavior: [^:]*" target/miri.log)"
MIRIFLAGS="-Zmiri-many-seeds=0..$seeds" miri -p contempo-core --test two_threads
# A context that is in use is left as it is, for ever, and so is the payload of a payload's panic.
export MIRIFLAGS="-Zmiri-ignore-leaks"
miri -p contempo-core --lib context
miri -p contempo-sched --lib guard
echo "miri: is content with $seeds seeds"
