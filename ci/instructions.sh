#!/usr/bin/env bash
# Instructions per operation, counted by callgrind, against committed budgets. They repeat where
# nanoseconds do not: on any machine, however busy, with the same compiler.
#
#   ci/instructions.sh            compare with benches/instructions.budget
#   ci/instructions.sh --renew    write what is measured into it; commit that with the reason
#
# An operation is run N times and 2N times; the difference, divided by N, is its cost without
# start-up. Budgets depend on the compiler: with another than the one that they were made with,
# excess is reported and does not fail.
set -euo pipefail
cd "$(dirname "$0")/.."
budget=benches/instructions.budget
tolerance=3 # per cent
compiler="$(rustc --version) $(rustc -vV | sed -n 's/^host: //p')"

skip() { echo "skipped: $1"; exit 0; }
[[ "$(uname -s)" == Linux ]] || skip "valgrind is used on Linux only"
if ! command -v valgrind >/dev/null; then
  command -v apt-get >/dev/null && [[ $(id -u) == 0 ]] || skip "valgrind is missing, and only root with apt-get could install it"
  { apt-get update -qq && apt-get install -y -qq valgrind; } >/dev/null 2>&1 || skip "apt-get could not install valgrind"
fi

# The flags of one build, whatever the caller has set: they change the count.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
binary=$(cargo bench --bench instructions --no-run --message-format=json |
  sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
[[ -x "$binary" ]] || { echo "the benchmark was not built"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Instructions of the whole process. A clean environment: it lies on the stack and shifts it.
count() {
  env -i PATH="$PATH" valgrind --tool=callgrind --callgrind-out-file="$work/out.$1.$2" "$binary" "$1" "$2" 2>"$work/log.$1.$2" >/dev/null ||
    { cat "$work/log.$1.$2" >&2; return 1; }
  sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log.$1.$2"
}
measure() { # name times
  local once twice
  once=$(count "$1" "$2")
  twice=$(count "$1" $((2 * $2)))
  [[ -n "$once" && -n "$twice" ]] || { echo "callgrind gave no count for $1" >&2; return 1; }
  awk -v name="$1" -v d=$((twice - once)) -v n="$2" 'BEGIN { printf "%s %.1f\n", name, d / n }'
}
export -f count measure
export binary work

"$binary" >"$work/operations"
xargs -P 2 -L 1 bash -c 'set -euo pipefail; measure "$1" "$2" >"$work/result.$1"' _ <"$work/operations"
while read -r name _; do cat "$work/result.$name"; done <"$work/operations" >"$work/measured"

if [[ "${1:-}" == --renew ]]; then
  {
    echo "# Instructions per operation (benches/instructions.rs). Renewed by: ci/instructions.sh --renew"
    echo "compiler $compiler"
    cat "$work/measured"
  } >"$budget"
  cat "$budget"
  exit
fi

made_with=$(sed -n 's/^compiler //p' "$budget")
same=1
if [[ "$made_with" != "$compiler" ]]; then
  same=0
  echo "warning: the budgets were made with $made_with, this is $compiler: nothing fails, only says so"
fi
grep -Ev '^(#|compiler )' "$budget" >"$work/budget"
awk -v tolerance="$tolerance" -v same="$same" '
  NR == FNR { budget[$1] = $2; next }
  { measured[$1] = 1 }
  !($1 in budget) { printf "%-20s %12.1f  no budget\n", $1, $2; bad++; next }
  {
    change = ($2 / budget[$1] - 1) * 100
    verdict = change > tolerance ? "TOO MANY" : change < -tolerance ? "fewer: the budget can be lowered" : "ok"
    printf "%-20s %12.1f  budget %12.1f  %+6.1f %%  %s\n", $1, $2, budget[$1], change, verdict
    if (change > tolerance) bad++
  }
  END {
    for (name in budget) if (!(name in measured)) { printf "%-20s has a budget and is not measured\n", name; bad++ }
    if (bad) {
      printf "\n%d row(s) are out of budget (tolerance %s %%). If that is worth it, renew the budgets with\n", bad, tolerance
      print "  ci/instructions.sh --renew\nand commit benches/instructions.budget with the reason."
    }
    exit bad && same ? 1 : 0
  }' "$work/budget" "$work/measured"
