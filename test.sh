#!/usr/bin/env bash
# Checks a change. Stops at the first check that fails.
#
#   bash test.sh            everything: lint, types and all tests
#   bash test.sh --quick    lint, types and the fast tests (FAST below: no training, no network), in about a minute

source "$(dirname "$0")/scripts/common.sh"
FAST=(
  tests/data tests/importing tests/inspection tests/metrics tests/losses/test_supcon.py
  tests/calibration/test_{curves,fitting,operating_points,quality_limits,reliability}.py
  tests/test_command_line.py tests/test_files.py tests/test_step_inputs.py
)
TESTS=()
case ${1:-} in
  '') ;;
  --quick) TESTS=("${FAST[@]}") ;;
  -h | --help) common_option --help ;;
  *) usage_error "unknown option $1" ;;
esac

set_up_python requirements.txt requirements-dev.txt
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

check() {
  say "== $*"
  command -v "$1" >/dev/null || fail "$1 is not in this environment: python -m pip install -r requirements-dev.txt"
  "$@" || fail "failed: $*"
}
check ruff check .
check ruff format --check .
check shellcheck -x -a ./*.sh slurm/*.sh slurm/*.sbatch tests/slow/*.sh .ci/run
check lint-imports
check mypy
check pytest -q ${TESTS[@]+"${TESTS[@]}"}
