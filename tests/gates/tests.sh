#!/usr/bin/env bash
# All tests and doctests; then once more, optimised, those that only then try as much
# as the faults name.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test --all-features
cargo test -p tower-keep --release --all-features --lib --test faults -- \
  fault_036 fault_046 fault_050 fault_082 fault_096 fault_099
# A million lives of a breaker beside its list.
cargo test -p tower-keep --release --all-features --test breaker
# Each alone, because they look at the memory of their process.
for map in index table; do
  KEEP_FLOOD=10000000 cargo test -p tower-keep --release --all-features --lib -- \
    "$map::suite::fault_050_flood_is_bounded"
done
