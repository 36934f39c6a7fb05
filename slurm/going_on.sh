# shellcheck shell=bash
# going_on COMMAND...: runs it; when the job's time runs out (Slurm then sends TERM, as --signal asks), lets it save and
# puts the job back into the queue, where it goes on from there.

going_on() {
  local status=0
  "$@" &
  trap 'trap "" TERM; kill -TERM %1; wait %1 || scontrol requeue "$SLURM_JOB_ID"; exit 1' TERM
  wait %1 || status=$?
  exit "$status"
}
