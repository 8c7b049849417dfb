#!/usr/bin/env bash
# The table of planted faults: which check catches which, and after how much. Fails if one is caught by
# none. Reads what ci/loom.sh, ci/shuttle.sh, ci/seeded.sh and ci/kills.sh printed when they ran last; runs
# them if they have not.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=target/checks
[ -f $logs/loom.log ] || ci/loom.sh
[ -f $logs/shuttle.log ] || ci/shuttle.sh
[ -f $logs/seeded.log ] || ci/seeded.sh
[ -f $logs/kills.log ] || ci/kills.sh
faults=$(sed -n '/^pub enum Fault/,/^}/p' stm-sched/src/primitives/fault.rs | sed -n 's/^    \([A-Z][A-Za-z]*\)\( = 0\)\?,$/\1/p' | grep -vx None)
# FreeAtOnce is also what ci/sanitizers.sh plants.
for checker in loom shuttle seeded kills; do
  # "TEST: FAULT … caught after N executions, TIME": anything may stand before it on the line.
  sed -nE "s/^\.*([a-z_]+): ([A-Z][A-Za-z]+)( .*)? caught after ([0-9]+) executions, (.*)\$/\2 $checker \1 \4 \5/p" \
    "$logs/$checker.log"
done | awk -v faults="$faults" '
  { caught[$1] = caught[$1] sprintf("%-26s %-8s %-48s %10d executions %10s\n", $1, $2, $3, $4, $5); by[$1]++ }
  END {
    count = split(faults, all, /[ \n]+/)
    for (i = 1; i <= count; i++) {
      if (all[i] == "") continue
      total++
      if (all[i] in caught) printf "%s", caught[all[i]]
      else { printf "%-26s NOT CAUGHT\n", all[i]; missing++ }
    }
    printf "\n%d faults, %d caught by no check\n", total, missing
    exit missing ? 1 : 0
  }'
