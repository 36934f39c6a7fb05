#!/usr/bin/env bash
# Checks a change. Stops at the first check that fails.
#
#   bash test.sh            everything: lint, types and all tests
#   bash test.sh --quick    lint, types and the fast tests, in about a minute
#
# Fast tests are those without the marker `slow`: they train nothing, build no large network and start few programs.

source "$(dirname "$0")/scripts/common.sh"
TESTS=()
case ${1:-} in
  '') ;;
  --quick) TESTS=(-m "not slow") ;;
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
