#!/usr/bin/env bash
# Processes that share a region are killed: at every instruction of a transaction, around everything that
# a recoverer or one that attaches does, around each system call of a maker, and at random under load, also
# in a region that is always full. Then the same with faults planted, each of which must show.
#
#   ci/kills.sh             a share, some minutes
#   ci/kills.sh --all       every instruction, and 10,000 random kills: about an hour
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "$(uname -sm)" != "Linux x86_64" ]]; then
  echo "skipped: single steps are those of Linux on x86-64"
  exit 0
fi
if [[ "${1:-}" == --all ]]; then
  sweep=(sweep --seconds 1800)
  room=(sweep --only room --seconds 900 --stride 97)
  lag=(sweep --only lag --seconds 900 --stride 61)
  recoverers=(recoverers --seconds 900)
  attachers=(attachers --seconds 900)
  random=(random --kills 10000)
  scale=(scale)
else
  sweep=(sweep --seconds 30 --stride 23)
  room=(sweep --only room --seconds 30 --stride 4001)
  lag=(sweep --only lag --seconds 60 --stride 1999)
  recoverers=(recoverers --seconds 40)
  attachers=(attachers --seconds 20 --stride 7)
  random=(random --kills 200)
  scale=(scale --kills 10 --sizes 1,10)
fi
cargo build -q --release -p kills
kills="${CARGO_TARGET_DIR:-target}/release/kills"
timeout 2000 "$kills" "${sweep[@]}"
timeout 1000 "$kills" "${room[@]}"
timeout 1000 "$kills" "${lag[@]}"
timeout 1000 "$kills" "${recoverers[@]}"
timeout 1000 "$kills" "${attachers[@]}"
timeout 1000 "$kills" makers
timeout 1000 "$kills" "${random[@]}"
timeout 1000 "$kills" "${random[@]}" --crowded
timeout 1000 "$kills" "${scale[@]}"

# Each fault must make the verdict bad (status 1). A crash of the program itself is not a verdict.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fault" RUSTFLAGS="--cfg contempo_fault"
cargo build -q --release -p kills
kills="$CARGO_TARGET_DIR/release/kills"
must_show() { # fault, arguments
  local fault=$1 status=0
  shift
  timeout 120 "$kills" --fault "$fault" "$@" >"$CARGO_TARGET_DIR/kills.log" 2>&1 || status=$?
  if [[ $status != 1 ]]; then
    echo "fault $fault: NOT caught (status $status)"
    tail -5 "$CARGO_TARGET_DIR/kills.log"
    exit 1
  fi
  local said
  said=$(grep -E 'kills: [0-9]+ inconsistent|^stuck' "$CARGO_TARGET_DIR/kills.log" | tail -1)
  echo "fault $fault: caught: $said"
  # For ci/faults.sh.
  echo "kills: $fault caught after $(tr -dc '0-9 ' <<<"${said%%kills*}" | awk '{ print $1 + 0 }') executions, $1" >>target/checks/kills.log
}
mkdir -p target/checks
: >target/checks/kills.log
must_show RetiredUnmarked sweep --seconds 60 --stride 13 --only transfer
must_show BasesForgotten sweep --seconds 60 --stride 13 --only transfer
must_show BasesOfReplacedForgotten sweep --seconds 60 --stride 13 --only transfer
must_show UndecidedFinished sweep --seconds 60 --stride 13 --only transfer
must_show ClaimsLeftByRecovery sweep --seconds 60 --stride 13 --only transfer
must_show UndoneUnmarked sweep --seconds 90 --stride 13 --only parts
must_show RestoredUnmarked sweep --seconds 30 --stride 13 --only parts
must_show AliveTakenForDead random --kills 200
must_show TakenFromTheActive random --kills 400 --crowded
must_show RetiredUntraced sweep --seconds 60 --stride 13 --only transfer
must_show OwnedForgotten sweep --seconds 60 --stride 13 --only transfer
