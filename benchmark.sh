#!/bin/sh
# ./benchmark.sh MODEL: the new model against the current one, in all four layers. See docs/bench.md.
set -eu
canary=$(dirname "$0")/.venv/bin/canary
[ -x "$canary" ] || canary=canary
exec "$canary" bench "$@"
