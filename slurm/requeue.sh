# shellcheck shell=bash
# run_and_requeue COMMAND...: when the job's time is nearly over (Slurm then sends TERM, as --signal asks), lets COMMAND
# save its state and puts the job back into the queue, where it will continue.

run_and_requeue() {
  local status=0
  "$@" &
  trap 'trap "" TERM; kill -TERM %1; wait %1 || scontrol requeue "$SLURM_JOB_ID"; exit 1' TERM
  wait %1 || status=$?
  exit "$status"
}
