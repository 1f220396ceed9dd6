#!/usr/bin/env bash
# The formatting.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo fmt --all --check
