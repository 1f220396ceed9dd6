#!/usr/bin/env bash
# Instructions, locked instructions, clock reads and allocations per call.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo bench --bench icount
