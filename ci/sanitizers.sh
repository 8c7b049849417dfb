#!/usr/bin/env bash
# AddressSanitizer (with leak check) and ThreadSanitizer over the tests, where a nightly toolchain
# is. Both are first shown to report a planted fault: a version that is freed at once.
# One of them: ci/sanitizers.sh address | thread
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "sanitizers: skipped: no nightly toolchain"
  exit 0
fi
target=x86_64-unknown-linux-gnu
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "sanitizers: skipped: not x86_64 Linux"; exit 0; }
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.suppressions"
export RUST_BACKTRACE=0 CONTEMPO_STRESS_SECONDS="${CONTEMPO_STRESS_SECONDS:-2}" PROPTEST_CASES=32
local=(alternatives:: blocking:: cells:: drops:: single_cell:: snapshots:: transactions:: waking::)

run() { # name, flags
  local name=$1; shift
  export RUSTFLAGS="$* --cfg contempo_fault --cfg contempo_system_heap" CARGO_TARGET_DIR="target/$name"
  if ! cargo +nightly test -q --target $target --test planted --no-run 2>"target/$name.log"; then
    tail -5 "target/$name.log"
    echo "sanitizers: $name skipped: the nightly toolchain does not build it here"
    return
  fi
  if CONTEMPO_FAULT=FreeAtOnce TSAN_OPTIONS="$TSAN_OPTIONS halt_on_error=1" timeout 120 cargo +nightly test -q --target $target --test planted \
      >"target/$name.log" 2>&1 || ! grep -qE 'SUMMARY: (Address|Thread)Sanitizer' "target/$name.log"; then
    tail -20 "target/$name.log"
    echo "sanitizers: $name does not report a planted use after free"
    exit 1
  fi
  echo "sanitizers: $name reports the planted fault: $(grep -m1 -oE '(Address|Thread)Sanitizer: [a-z-]+( race)?' "target/$name.log")"
  timeout 900 cargo +nightly test -q --target $target --test planted
  # ThreadSanitizer takes what happens inside the precompiled standard library (channels and
  # mutexes of the tests and of their harness) for races: it gets the plain program only.
  if [ "$name" != thread ]; then
    timeout 900 cargo +nightly test -q --target $target --test history --test corpus
    timeout 900 cargo +nightly test -q --target $target --test conformance -- local:: --skip closures::bombs # they leak on purpose
    timeout 900 cargo +nightly test -q --target $target --test local -- "${local[@]}"
  fi
  echo "sanitizers: $name is content"
}

mkdir -p target
case "${1:-both}" in address | both) run address -Zsanitizer=address ;; esac
case "${1:-both}" in
  thread | both) run thread -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg contempo_tsan ;;
esac
