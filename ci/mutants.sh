#!/usr/bin/env bash
# Mutation testing of the protocol's files: ci/mutants.sh [FILE...]. Each mutant is one small change of the
# code, which some test should notice; docs/mutants.md lists those that none does, with an argument each.
# Works on a copy of the last commit, with the quick tests. Not part of the gate:
# 7 to 10 seconds a mutant, 40 if it hangs, and under shuttle half a minute for each that is left.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo mutants --version >/dev/null 2>&1; then
  echo "mutants: skipped: cargo-mutants is missing (cargo install cargo-mutants --locked)"
  exit 0
fi
files=("$@")
[ $# -gt 0 ] || files=(stm-core/src/{observe,commit,claim,turns,declared}.rs stm-sched/src/{turn,queue,word}.rs
  stm-alloc/src/{announcement,contemporaries}.rs)
work=${CARGO_TARGET_DIR:-$PWD/target}/mutants
tree=$work/tree
rm -rf "$tree" && mkdir -p "$tree" "$work/out"
git archive HEAD | tar x -C "$tree"
# What a run that was broken off has built is not what lies there now.
find "$tree" -name '*.rs' -exec touch {} +
export CARGO_TARGET_DIR=$work/target CONTEMPO_STRESS_SECONDS=1 RUST_BACKTRACE=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
tests=(history model transactions single_cell snapshots scheduling starvation drops cells blocking waking)
cd "$tree"
# cargo-mutants runs only the mutated package's tests on the unchanged tree: this is instead of that.
timeout 600 cargo test -q --workspace --lib "${tests[@]/#/--test=}"
mutants() { # arguments of cargo-mutants
  local status=0
  cargo mutants --workspace --in-place --no-shuffle --colors never --baseline skip --build-timeout 240 \
    --output "$work/out/$(basename "$file" .rs)" --file "$file" "$@" || status=$?
  # 0: all were noticed; 2: some were missed; 3: some ran into the time limit, which is a way to be noticed.
  case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac
}
missed() {
  cat "$work/out/$(basename "$file" .rs)/mutants.out/missed.txt"
}
for file in "${files[@]}"; do
  mutants --timeout 20 --test-workspace=true --cargo-arg=--lib "${tests[@]/#/--cargo-arg=--test=}"
done
# What needs a rare schedule to be seen: those of the protocol that were missed, under shuttle.
for file in "${files[@]}"; do
  [[ $file == stm-core/* && -n "$(missed)" ]] || continue
  CONTEMPO_FAULT=None CONTEMPO_SCHEDULES=1000 RUST_TEST_THREADS=1 SHUTTLE_SILENCE_WARNINGS=1 \
    RUSTFLAGS="--cfg contempo_shuttle" CARGO_TARGET_DIR=$work/shuttle \
    mutants --iterate --timeout 60 --profile checker --cargo-arg=--test=shuttle --cargo-arg=--test=shuttle_turns
done
status=0
for file in "${files[@]}"; do
  echo "== $file, missed:"
  missed
  [ -z "$(missed)" ] || status=2
done
exit $status
