#!/usr/bin/env bash
# A user's programs under loom and under shuttle (docs/checking.md): what is wrong is found.
set -euo pipefail
cd "$(dirname "$0")/.."
for checker in loom shuttle; do
  RUSTFLAGS="--cfg contempo_$checker" CARGO_TARGET_DIR="target/checked_$checker" SHUTTLE_SILENCE_WARNINGS=1 \
    timeout 600 cargo test -q --profile checker --test checked --test checked_collections --test checked_failures "$@"
done
