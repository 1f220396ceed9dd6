#!/usr/bin/env bash
# The documentation with every link in it: of all features, of the default ones, of
# none.
set -euo pipefail
cd "$(dirname "$0")/../.."
export RUSTDOCFLAGS="-D warnings"
cargo doc --no-deps --all-features
# The services under test are no part of what is published.
cargo doc --no-deps -p tower-keep
cargo doc --no-deps -p tower-keep --no-default-features
