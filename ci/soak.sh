#!/usr/bin/env bash
# Random work of all kinds for a while: ci/soak.sh [MINUTES]. The last line is the verdict.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes="${1:-2}"
timeout "$(awk -v m="$minutes" 'BEGIN { printf "%d", m * 60 + 300 }')" \
  cargo run -q --release --example soak -- --minutes "$minutes"
