#!/usr/bin/env bash
# The library compiles with the oldest supported compiler, and for other systems; its tests run on an
# emulated aarch64, and those of the protocol on 32-bit x86, those aside that start or fork processes. Of this the gate has the first: ci/platforms.sh --oldest. What is missing on this
# machine is skipped, and says so: rustup target add TARGET; rustup toolchain install 1.89.0; qemu-user and
# gcc-aarch64-linux-gnu of Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/platforms" RUSTFLAGS="-D warnings"
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1).0
if cargo "+$oldest" --version >/dev/null 2>&1; then
  CARGO_TARGET_DIR="$CARGO_TARGET_DIR/$oldest" timeout 600 cargo "+$oldest" check -q -p contempo \
    --features tracing,serde,metrics,places,futures
  echo "platforms: compiles with Rust $oldest"
else
  echo "platforms: skipped: Rust $oldest is not installed"
fi
[ "${1:-}" != --oldest ] || exit 0
targets=$(rustup target list --installed 2>/dev/null || true)
for target in aarch64-unknown-linux-gnu aarch64-apple-darwin x86_64-pc-windows-gnu i686-unknown-linux-gnu; do
  if grep -qx "$target" <<<"$targets"; then
    timeout 600 cargo check -q -p contempo --target "$target"
    echo "platforms: compiles for $target"
  else
    echo "platforms: skipped: $target is not installed"
  fi
done
target=i686-unknown-linux-gnu
if grep -qx $target <<<"$targets" && [ "$(uname -m)" = x86_64 ] && gcc -m32 -print-file-name=Scrt1.o 2>/dev/null | grep -q /; then
  # Without regions, which need 64-bit pointers.
  timeout 900 cargo test -q -p contempo-core --target $target --lib --test two_threads
  echo "platforms: the tests of the protocol pass on 32-bit x86"
else
  echo "platforms: skipped: tests on 32-bit x86 (rustup target add $target; gcc-multilib of Debian)"
fi
target=aarch64-unknown-linux-gnu
if ! grep -qx $target <<<"$targets" || ! command -v qemu-aarch64 aarch64-linux-gnu-gcc >/dev/null; then
  echo "platforms: skipped: no emulator, or no linker, for aarch64"
  exit 0
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CONTEMPO_STRESS_SECONDS=2 PROPTEST_CASES=16
# Emulated threads see memory in the order of this machine: weak memory is the models' business.
emulated() { timeout 1800 cargo test -q -p contempo --target $target "$@"; }
emulated --test conformance --test collections --test history
emulated --test local -- alternatives:: cells:: declared:: drops:: scheduling:: single_cell:: snapshots:: transactions::
emulated --test region -- cells::
echo "platforms: the tests pass on an emulated aarch64"
