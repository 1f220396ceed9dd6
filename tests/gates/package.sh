#!/usr/bin/env bash
# The package that would be published, built from what is in it.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo package --allow-dirty -p tower-keep
