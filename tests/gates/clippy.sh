#!/usr/bin/env bash
# The lints: of everything, of the bare library, and of each feature alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo clippy --workspace --all-targets --all-features -- -D warnings
cargo clippy --lib --no-default-features -- -D warnings
features=$(awk '/^\[/ { inside = /^\[features\]/ } inside && /^[a-z][a-z0-9_-]* *=/ { print $1 }' Cargo.toml)
[ -n "$features" ] || { echo "no features found in Cargo.toml"; exit 1; }
for feature in $features; do
  echo "-- only $feature"
  cargo clippy --lib --no-default-features --features "$feature" -- -D warnings
done
