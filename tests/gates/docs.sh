#!/usr/bin/env bash
# The documentation, with every link in it.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
