# shellcheck shell=bash
# Running recipe scripts: each with a log, several at the same time, stopping together.

made_by() {  # FOLDER/SCRIPT: the file it makes
  local file
  case $1 in
    */train.py) file=best.safetensors ;;
    */pseudo.py) file=pseudo.csv ;;
    */infer.py) file=similarity.csv ;;
  esac
  printf '%s' "${1%/*}/results${NAME:+/$NAME}/$file"
}

lock_folder() {  # FOLDER COMMAND...: fails where another run has it; held by file 9, which is also open in what we start
  mkdir -p "$1"
  exec 9<>"$1/.lock"
  python -m noseprint.lock 9 "$@"
}

run_script() {  # FOLDER/SCRIPT ARGUMENT...: output goes to the terminal and to a log beside what it makes
  local script=$1 made log refusal status=0
  if [ "$DRY" = 1 ]; then
    show run python "$@"
    return
  fi
  made=$(made_by "$1")
  log=${made%/*}/$(basename "$1" .py).log
  mkdir -p "${made%/*}"
  refusal=$({ printf '$ python'; printf ' %q' "$@"; printf '\n'; } 2>&1 >>"$log") || give_up "$log cannot be written (${refusal##*: })"
  logged "$log" "${script%/*}" python "$@" || status=$?
  [ "$status" != 137 ] || say "Exit status 137 means killed from outside, most often because memory ran out: lower --batch-size." >&2
  [ "$status" = 0 ] || give_up "$script failed (exit status $status); its log is $log"
  [ -f "$made" ] || give_up "$script ended well but did not write $made; its log is $log"
}

logged() {  # LOG NAME COMMAND...: ends with the command's own status
  local log=$1 name=$2
  shift 2
  if [ "$LANES" -gt 1 ]; then
    "$@" 2>&1 | copy_lines "$log" "[$name] "
  elif [ -t 1 ] && [ -t 2 ]; then  # the pipe ends at a terminal: NOSEPRINT_PROGRESS asks for the bar all the same
    NOSEPRINT_PROGRESS=1 "$@" 2>&1 | (trap '' INT TERM HUP; exec tee /dev/stderr) | copy_lines "$log" "" >/dev/null
  else
    "$@" 2>&1 | copy_lines "$log" ""
  fi
  return "${PIPESTATUS[0]}"
}

copy_lines() {  # LOG PREFIX: of a bar that redraws itself only the last state stays; a full disk costs the log, not the run
  local line lost=0
  trap '' INT TERM HUP  # what a script says when it is stopped is shown, too
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    line=${line##*$'\r'}
    printf '%s\n' "$line" >&3 2>/dev/null || lost=1
    printf '%s%s\n' "$2" "$line"
  done 3>>"$1"
  [ "$lost" = 0 ] || say "$1 could not take every line: is that disk full?" >&2
}

give_up() {  # ends the lane, and keeps the other lanes from starting anything new
  if [ "$DRY" = 0 ]; then printf '%s\n' "$*" >>"$FAILED"; fi
  fail "$*"
}

in_lanes() {  # MOST WORK ITEM...: lane i of at most MOST calls WORK with item i, then i + lanes, ...; waits for all
  local most=$1 work=$2 item lane pids="" pid broken=0
  shift 2
  if [ "$DRY" = 1 ]; then
    for item; do "$work" "$item"; done
    return
  fi
  LANES=$(($# < most ? $# : most))
  FAILED=$(mktemp "${TMPDIR:-/tmp}/noseprint.XXXXXX")
  set -m  # each lane becomes a process group, so that stop reaches all that it started
  for ((lane = 0; lane < LANES; lane++)); do
    run_lane "$lane" "$work" "$@" </dev/null &
    pids="$pids $!"
  done
  set +m
  for pid in $pids; do wait "$pid" || broken=1; done
  if [ "$LANES" -gt 1 ]; then sed 's/^/Failed: /' "$FAILED" >&2; fi
  rm -f "$FAILED"
  [ "$broken" = 0 ] || fail "stopped; what is finished is kept, and the same command carries on from here"
}

run_lane() {  # LANE WORK ITEM...
  local lane=$1 work=$2 gpus item cores
  shift 2
  trap 'exit 143' TERM  # outlives the script it runs, so that whoever waits for the lane waits for both
  if [ -n "$GPUS" ]; then
    IFS=, read -r -a gpus <<<"$GPUS"
    export CUDA_VISIBLE_DEVICES=${gpus[lane]}
  elif [ "$LANES" -gt 1 ]; then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > LANES ? cores / LANES : 1))}
  fi
  for ((item = lane + 1; item <= $#; item += LANES)); do
    [ ! -s "$FAILED" ] || return 1
    "$work" "${!item}"
  done
}

stop() {  # EXIT STATUS
  local pid
  trap - INT TERM HUP
  for pid in $(jobs -p); do kill -TERM -- "-$pid" 2>/dev/null || continue; done
  wait
  rm -f "${FAILED:-}"
  say "$SELF: stopped; the same command carries on from here" >&2
  exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
