# shellcheck shell=bash
# Runs recipe scripts: each writes a log, several run side by side in lanes, and all stop together.

PART=""  # the part of the current step, see steps.sh

lock_folder() {  # FOLDER COMMAND...: fails if another run has the lock. We and all we start hold it as descriptor 9
  local error
  error=$({ mkdir -p "$1" && : 9<>"$1/.lock"; } 2>&1) || {
    say "$(of_family "$1") cannot be written (${error##*: })" >&2
    return 1
  }
  exec 9<>"$1/.lock"
  python -m noseprint.lock 9 "$@"
}

run_script() {  # RESULT FOLDER/SCRIPT ARGUMENT...: runs SCRIPT, which must write RESULT; its log lies beside RESULT
  local result=$1 script=$2 log error status=0
  shift
  if [ "$DRY_RUN" = 1 ]; then
    show_command run python "$@"
    return
  fi
  log=$(of_family "${result%/*}/$(basename "$script" .py).log")
  # A lane outlives its shell if only the shell is killed. Then it finishes its current script, and starts no other.
  kill -0 $$ 2>/dev/null || fail_lane "$script was not started, since $SELF was killed"
  mkdir -p "${result%/*}"
  error=$({ printf '$ python'; printf ' %q' "$@"; printf '\n'; } 2>&1 >>"$log") ||
    fail_lane "$log cannot be written (${error##*: })"
  run_logged "$log" "${script%/*}${PART:+:$PART}" python "$@" || status=$?
  [ "$status" != 137 ] ||
    say "Exit status 137: the script was killed, most often because memory ran out. Try a lower --batch-size." >&2
  [ "$status" = 0 ] || fail_lane "$script failed (exit status $status); its log is $log"
  [ -f "$result" ] || fail_lane "$script reported success but did not write $result; its log is $log"
}

run_logged() {  # LOG NAME COMMAND...: returns the exit status of COMMAND
  local log=$1 name=$2
  shift 2
  if [ "$LANES" -gt 1 ]; then
    "$@" 2>&1 | copy_lines "$log" "[$name] "
  elif [ -t 1 ] && [ -t 2 ]; then  # the script sees a pipe; NOSEPRINT_PROGRESS asks for its progress bar all the same
    NOSEPRINT_PROGRESS=1 "$@" 2>&1 | (trap '' INT TERM HUP; exec tee /dev/stderr) | copy_lines "$log" "" >/dev/null
  else
    "$@" 2>&1 | copy_lines "$log" ""
  fi
  return "${PIPESTATUS[0]}"
}

copy_lines() {  # LOG PREFIX: the log gets the last state of a progress bar only; a full disk must not stop the script
  local line lost=0
  trap '' INT TERM HUP  # also show what a script prints while it is being stopped
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    line=${line##*$'\r'}
    printf '%s\n' "$line" >&3 2>/dev/null || lost=1
    printf '%s%s\n' "$2" "$line"
  done 3>>"$1"
  [ "$lost" = 0 ] || say "Some lines could not be written to $1. Is its disk full?" >&2
}

fail_lane() {  # MESSAGE: ends this lane, and keeps the others from starting anything new
  if [ "$DRY_RUN" = 0 ]; then printf '%s\n' "$*" >>"$FAILURES"; fi
  fail "$*"
}

run_in_lanes() {  # MAX FUNCTION ITEM...: calls FUNCTION with each item, at most MAX at the same time; waits for all
  local max=$1 function=$2 item lane pids="" pid failed=0
  shift 2
  if [ "$DRY_RUN" = 1 ]; then
    for item; do "$function" "$item"; done
    return
  fi
  LANES=$(($# < max ? $# : max))
  FAILURES=$(mktemp "${TMPDIR:-/tmp}/noseprint.XXXXXX")
  set -m  # each lane becomes a process group, so that a signal reaches everything it started
  for ((lane = 0; lane < LANES; lane++)); do
    run_lane "$lane" "$function" "$@" </dev/null &
    pids="$pids $!"
  done
  set +m
  for pid in $pids; do wait "$pid" || failed=1; done
  if [ "$LANES" -gt 1 ]; then sed 's/^/Failed: /' "$FAILURES" >&2; fi
  rm -f "$FAILURES"
  [ "$failed" = 0 ] || fail "stopped. Finished work is kept; the same command continues from here"
}

run_lane() {  # LANE FUNCTION ITEM...: takes one of every LANES items, in turn from the front and from the back:
  # of four items, two lanes take 1 and 4, and 2 and 3. With every LANES-th, one lane would get all slow networks
  local lane=$1 function=$2 gpus item cores first place=$1
  shift 2
  trap 'exit 143' TERM  # runs once the current script has ended: waiting for the lane means waiting for both
  if [ -n "$GPUS" ]; then
    IFS=, read -r -a gpus <<<"$GPUS"
    export CUDA_VISIBLE_DEVICES=${gpus[lane]}
  elif [ "$LANES" -gt 1 ]; then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > LANES ? cores / LANES : 1))}
  fi
  for ((first = 1; first <= $#; first += LANES)); do
    item=$((first + place)) place=$((LANES - 1 - place))
    [ "$item" -le $# ] || continue
    [ ! -s "$FAILURES" ] || return 1
    "$function" "${!item}"
  done
}

stop() {  # EXIT STATUS
  local pid
  trap - INT TERM HUP
  for pid in $(jobs -p); do kill -TERM -- "-$pid" 2>/dev/null || continue; done
  wait
  rm -f "${FAILURES:-}"
  say "$SELF: stopped; the same command continues from here" >&2
  exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
