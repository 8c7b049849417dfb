#!/usr/bin/env bash
# The examples do what they say, on real input: the bank balances, the index equals a sequential
# build.
set -euo pipefail
cd "$(dirname "$0")/.."
timeout 300 cargo run -q --release --example bank
timeout 300 cargo run -q --release --example index -- --rounds 1
