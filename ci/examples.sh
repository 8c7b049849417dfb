#!/usr/bin/env bash
# The examples do what they say, on real input: the bank balances, the cache keeps its bounds, the index equals a
# sequential build, the ledger of several processes keeps its total.
set -euo pipefail
cd "$(dirname "$0")/.."
# Built first: a time-out is to end what hangs, and not a build beside others.
cargo build -q --release --examples
timeout 300 cargo run -q --release --example bank
timeout 300 cargo run -q --release --example cache
timeout 300 cargo run -q --release --example index -- --rounds 1
# No increment is lost, whichever policy decides.
timeout 300 cargo run -q --release --example policy
# Each job ends, also those that fail and panic, and the sum is right.
timeout 300 cargo run -q --release --example workers
# The page that it serves counts what it has done.
timeout 300 cargo run -q --release --example prometheus >/dev/null
# Processes are killed; it fails if the total changes or anything is left.
timeout 300 cargo run -q --release --example shared_ledger -- 60
