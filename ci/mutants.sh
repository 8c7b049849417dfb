#!/usr/bin/env bash
# Mutation testing of the protocol's files: ci/mutants.sh [FILE...]. Each mutant is one small change of the
# code, which some test should notice; docs/mutants.md lists those that none does, with an argument each.
# Three passes, the cheapest first; only what a pass has missed goes on to the next:
#   unit     the unit tests of the file itself: about a second a mutant, 20 if it hangs
#   quick    the quick tests of the whole library: about twenty seconds, 60 if it hangs
#   checked  a model under loom or shuttle, for what needs a rare schedule: about a minute
# Works on a copy of the last commit. Not part of the gate.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo mutants --version >/dev/null 2>&1; then
  echo "mutants: skipped: cargo-mutants is missing (cargo install cargo-mutants --locked)"
  exit 0
fi
files=("$@")
[ $# -gt 0 ] || files=(stm-core/src/protocol/{read,commit,claim}.rs stm-core/src/local/{turns,access_set}.rs
  stm-sched/src/contention/{turns,lock_queue}.rs stm-sched/src/words/{version_tag,state,lock,turn}.rs
  stm-alloc/src/reclaim/{announcement,contemporaries,collect,queue}.rs)
work=${CARGO_TARGET_DIR:-$PWD/target}/mutants
tree=$work/tree
mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || { echo "mutants: another run works in $work"; exit 1; }
rm -rf "$tree" && mkdir -p "$tree"
git archive HEAD | tar x -C "$tree"
# What a run that was broken off has built is not what lies there now.
find "$tree" -name '*.rs' -exec touch {} +
export CARGO_TARGET_DIR=$work/target CONTEMPO_STRESS_SECONDS=1 RUST_BACKTRACE=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
# For the models: as they are, without the faults that they plant themselves.
export CONTEMPO_FAULT=None CONTEMPO_SCHEDULES=1000 SHUTTLE_SILENCE_WARNINGS=1
tests=(history model conformance local)
cd "$tree"

# The module that a file is: words::turn.
module() {
  local path=${1#*src/}
  path=${path%.rs}
  path=${path%/mod}
  echo "${path//\//::}"
}

# One pass over what is left of $file: name, checker or "", time limit, package, and what `cargo test` gets.
pass() {
  local name=$1 checker=$2 limit=$3 package=$4 target=$work/target status=0
  shift 4
  [ ! -e "$out/missed.txt" ] || [ -s "$out/missed.txt" ] || return 0
  [ -z "$checker" ] || target=$work/$checker
  local -x RUSTFLAGS=${checker:+--cfg contempo_$checker} CARGO_TARGET_DIR=$target
  # What fails on the unchanged tree notices nothing.
  timeout 600 cargo test -q -p "$package" "$@" >"$work/unchanged.log" || { cat "$work/unchanged.log"; exit 1; }
  # Else those that hang would do so again in each pass.
  [ ! -e "$out/timeout.txt" ] || cat "$out/timeout.txt" >>"$out/caught.txt"
  cargo mutants --workspace --in-place --no-shuffle --colors never --baseline skip --iterate \
    --build-timeout 240 --exclude-re "tests::" --output "${out%/*}" --file "$file" --timeout "$limit" --test-package "$package" \
    "${@/#/--cargo-arg=}" || status=$?
  # 0: all were noticed; 2: some were missed; 3: some ran into the time limit, which is a way to be noticed.
  case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac
  {
    printf '%s: noticed %d, hang %d, do not compile %d, missed %d\n' "$name" \
      $(for list in caught timeout unviable missed; do wc -l <"$out/$list.txt"; done)
    sed "s/^/$name, hangs: /" "$out/timeout.txt"
  } >>"${out%/*}/passes.txt"
}
for file in "${files[@]}"; do
  name=$(module "$file")
  out=$work/out/$name/mutants.out
  rm -rf "${out%/*}" && mkdir -p "${out%/*}"
  package=contempo-${file%%/*}
  package=${package/stm-/}
  if grep -q '^mod tests' "$file"; then
    pass unit "" 20 "$package" --lib "$name::"
  fi
  pass quick "" 60 contempo --lib "${tests[@]/#/--test=}"
  case $file in
  stm-sched/src/contention/lock_queue.rs) model=(loom "$package" --test=loom_lock_queue) ;;
  stm-alloc/src/reclaim/announcement.rs) model=(loom "$package" --test=loom) ;;
  *) model=(shuttle contempo-core --test=shuttle --test=shuttle_turns) ;;
  esac
  RUST_TEST_THREADS=1 pass checked "${model[0]}" 120 "${model[1]}" --profile=checker "${model[@]:2}"
done
status=0
for file in "${files[@]}"; do
  out=$work/out/$(module "$file")
  echo "== $file"
  cat "$out/passes.txt"
  sed 's/^/missed: /' "$out/mutants.out/missed.txt"
  [ ! -s "$out/mutants.out/missed.txt" ] || status=2
done
exit $status
