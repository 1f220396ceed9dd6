#!/usr/bin/env bash
# The examples, as a reader builds them.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --examples
for example in axum_server client_stack live_policy own_error not_http; do
    cargo run --release --quiet --example "$example"
done
