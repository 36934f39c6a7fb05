# shellcheck shell=bash
# run_and_requeue COMMAND...: runs COMMAND. When the job's time is nearly over, Slurm sends TERM (as --signal asks).
# run_and_requeue then lets COMMAND save its state, and puts the job back into the queue, so that it continues later.

run_and_requeue() {
  local status=0
  "$@" &
  trap 'trap "" TERM; kill -TERM %1; wait %1 || scontrol requeue "$SLURM_JOB_ID"; exit 1' TERM
  wait %1 || status=$?
  exit "$status"
}
