#!/usr/bin/env bash
# The examples, as a reader builds them.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --examples
