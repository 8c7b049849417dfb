#!/usr/bin/env bash
# The crates could be published: manifests say what they must, packages hold what users need and nothing else, each
# builds from its package alone, and no page of the documentation links to a file that is not there.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

cargo metadata --format-version 1 --no-deps | python3 -c '
import json, subprocess, sys

WANTED = ("description", "license", "repository", "documentation", "readme", "keywords", "categories")
# What a package may hold, beside what cargo adds.
MAY = ("src/", "docs/", "examples/", "README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT")
ADDED = {"Cargo.toml", "Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"}
wrong, published = [], []
for package in json.load(sys.stdin)["packages"]:
    name = package["name"]
    if package["publish"] == []:
        continue
    published.append(name)
    wrong += [f"{name}: its manifest has no {field}" for field in WANTED if not package.get(field)]
    if "docs" not in (package.get("metadata") or {}):
        wrong.append(f"{name}: its manifest has no [package.metadata.docs.rs]")
    command = ["cargo", "package", "-q", "--list", "--allow-dirty", "-p", name]
    held = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    wrong += [f"{name}: its package holds {file}" for file in held if file not in ADDED and not file.startswith(MAY)]
    needed = ("README.md", "LICENSE-APACHE", "LICENSE-MIT")
    wrong += [f"{name}: its package has no {file}" for file in needed if file not in held]
expected = {"contempo", "contempo-alloc", "contempo-core", "contempo-live", "contempo-sched"}
if set(published) != expected:
    wrong.append(f"these would be published: {sorted(published)}")
print(*wrong, f"package: {len(published)} crates, {len(wrong)} faults", sep="\n")
sys.exit(bool(wrong))
'

# Builds each from its package, with those of the others in place of the registry. (Nothing is uploaded.)
cargo publish -q --workspace --dry-run --allow-dirty

cargo doc -q -p contempo --no-deps
if links=$(grep -rnoE --include=index.html 'href="[^":]*\.md[^"]*"' "$CARGO_TARGET_DIR/doc/contempo"); then
  echo "links that lead to files, which are not there on docs.rs:"
  echo "$links"
  exit 1
fi
