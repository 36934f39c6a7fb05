#!/usr/bin/env bash
# Every check a contributor runs: lint, format, shell, types, imports, tests. Stops at the first that fails.
#
#   bash test.sh

source "$(dirname "$0")/scripts/common.sh"
case ${1:-} in '') ;; -h | --help) common_option --help ;; *) usage_error "unknown option $1" ;; esac

set_up_python requirements.txt requirements-dev.txt
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

check() {
  say "== $*"
  command -v "$1" >/dev/null || fail "$1 is not in this environment: python -m pip install -r requirements-dev.txt"
  "$@" || fail "failed: $*"
}
check ruff check .
check ruff format --check .
check shellcheck -x -a train.sh predict.sh predict_ckpt.sh test.sh .ci/run tests/slow/no_network.sh slurm/submit.sh slurm/*.sbatch slurm/requeue.sh
check mypy
check lint-imports
check pytest -q
