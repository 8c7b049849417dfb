#!/usr/bin/env bash
# Features are additive: contempo builds with its tests and without a warning in every combination of the features that
# put another part in place, each of them with none and with all of those that only add something; and where a feature
# puts another part in place (reclaimer, clock) or takes regions away, the tests that decide correctness pass (others count
# what is held).
#
#   ci/features.sh            everything
#   ci/features.sh --check    builds only
#   ci/features.sh --all      builds only, in every combination there is (128)
set -euo pipefail
cd "$(dirname "$0")/.."
features=(reclaim-epoch clock-tsc shared)
added=(tracing,contempo/serde,contempo/places,contempo/metrics)
[ "${1:-}" != --all ] || added=(tracing serde places metrics)
features+=("${added[@]}")
crates=(-p contempo -p contempo-core -p contempo-alloc -p contempo-sched)
# The tests that decide correctness, whatever the feature. (Collections are made of cells alone, and run with the other reclaimer.)
decide=(--test conformance --test history --test model)
local=(--test local -- cells:: drops:: single_cell:: snapshots:: transactions::)

for ((set = 0; set < 1 << ${#features[@]}; set++)); do
  chosen=()
  for ((bit = 0; bit < ${#features[@]}; bit++)); do
    ((set >> bit & 1)) && chosen+=("contempo/${features[bit]}")
  done
  names=$(IFS=,; echo "${chosen[*]}")
  echo "features: ${names:-none}"
  said=$(timeout 600 cargo check -q "${crates[@]}" --tests --no-default-features --features "$names" 2>&1) ||
    { echo "$said"; exit 1; }
  [ -z "$said" ] || { echo "$said"; echo "a warning with these features: ${names:-none}"; exit 1; }
done
# A tool that needs regions, beside a program that has chosen the other clock.
timeout 600 cargo check -q -p contempo-shm --features contempo/clock-tsc
# Adds two implementations, whatever else there is.
timeout 600 cargo check -q -p contempo --no-default-features --features futures
[ $# = 0 ] || exit 0

timeout 1800 cargo test -q -p contempo --features serde,metrics,places --test serde --test metrics --test reports
timeout 1800 cargo test -q -p contempo -p contempo-core -p contempo-sched --features contempo/serde --doc serde
timeout 1800 cargo test -q -p contempo -p contempo-core --features contempo/reclaim-epoch --tests
# Regions beside the other clock, too: they keep theirs.
timeout 1800 cargo test -q --features clock-tsc "${decide[@]}"
timeout 1800 cargo test -q --features clock-tsc "${local[@]}"
timeout 1800 cargo test -q --features clock-tsc --test region -- cells:: history::
timeout 1800 cargo test -q --no-default-features "${decide[@]}"
timeout 1800 cargo test -q --no-default-features "${local[@]}"
