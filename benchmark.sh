#!/bin/sh
# ./benchmark.sh MODEL: the new model against the current one, in all four layers, and the report of it in
# benchmark-MODEL.html. MODEL comes first; all options of `canary bench` may follow. See docs/bench.md.
set -eu
canary=$(dirname "$0")/.venv/bin/canary
[ -x "$canary" ] || canary=canary
case "${1--} $*" in
  -* | *" --report"* | *" --dry"* | *" --quick"* | *" --dataset"* | *" -h"* | *" --help"*) exec "$canary" bench "$@" ;;
esac
exec "$canary" bench "$@" --report "benchmark-$(printf %s "$1" | tr -c 'A-Za-z0-9._-' '-').html"
