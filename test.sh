#!/usr/bin/env bash
# Checks a change. Stops at the first check that fails.
#
#   bash test.sh            everything: lint, types and all tests
#   bash test.sh --quick    lint, types and the fast tests (FAST below: no training, no network), in about a minute

source "$(dirname "$0")/scripts/common.sh"
FAST=(
  tests/data tests/importing tests/inspection tests/metrics tests/losses/test_{adjusted_cross_entropy,supcon}.py
  tests/calibration/test_{curves,fitting,operating_points,quality_limits,reliability}.py
  tests/test_command_line.py tests/test_files.py tests/test_step_inputs.py
)
RUN_AS_USERS=(tests/recipes tests/scripts tests/commands tests/test_cli.py tests/test_docs.py tests/test_examples.py)
QUICK=0
case ${1:-} in
  '') ;;
  --quick) QUICK=1 ;;
  -h | --help) common_option --help ;;
  *) usage_error "unknown option $1" ;;
esac

set_up_python requirements.txt requirements-dev.txt

check() {
  say "== $*"
  command -v "$1" >/dev/null || fail "$1 is not in this environment: python -m pip install -r requirements-dev.txt"
  "$@" || fail "failed: $*"
}
check ruff check .
check ruff format --check .
check shellcheck -x -a ./*.sh recipes/*/*.sh slurm/*.sh slurm/*.sbatch tests/slow/*.sh .ci/run
check lint-imports
check mypy
if [ "$QUICK" = 1 ]; then
  OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} check pytest -q "${FAST[@]}"
  exit
fi

half() {  # users: the tests of what users run; library: all others, which take about as long
  local tests=("${RUN_AS_USERS[@]}")
  [ "$1" = users ] || tests=("${tests[@]/#/--ignore=}")
  run_logged /dev/null "$1" pytest -q "${tests[@]}"
}
say "== pytest, in two halves at once"
LANES=2 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} FAILED=""
export OMP_NUM_THREADS
set -m  # each half is a process group, which Ctrl-C stops as a whole
half users & USERS=$!
half library & LIBRARY=$!
set +m
wait "$USERS" || FAILED="users"
wait "$LIBRARY" || FAILED="$FAILED library"
[ -z "$FAILED" ] || fail "failed: pytest (${FAILED# })"
