#!/usr/bin/env bash
# All tests and doctests.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test --all-features
