#!/usr/bin/env bash
# The recorded-history stress test for a while: ci/stress.sh [SECONDS]. Prints its seed; to repeat
# one, CONTEMPO_SEED=7 ci/stress.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export CONTEMPO_STRESS_SECONDS="${1:-20}"
timeout $((CONTEMPO_STRESS_SECONDS * 6 + 300)) cargo test -q --release --test history -- --nocapture
