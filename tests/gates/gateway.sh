#!/usr/bin/env bash
# The demonstration of the gateway, and what it reports.
set -euo pipefail
cd "$(dirname "$0")/../.."
report=$(mktemp)
trap 'rm -f "$report"' EXIT
cargo run --release --quiet --example gateway -- --json > "$report"
GATEWAY_REPORT="$report" cargo test --all-features --test api -- --ignored the_demonstration
