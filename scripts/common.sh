# shellcheck shell=bash disable=SC2034  # test.sh uses only some of the variables
# For every script that a user starts: the folder it works in, its options, its messages.
# All scripts must run on bash 3.2, which macOS ships.
set -euo pipefail
unset CDPATH

CALLER=$PWD
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)  # the checkout
FAMILY=$(cd "$(dirname "$0")" && pwd)  # the folder of the script that was started: its recipe folders are here
SELF=${0##*/}
PREFIX=""; [ "$FAMILY" = "$ROOT" ] || PREFIX=${FAMILY#"$ROOT"/}/  # from the checkout to FAMILY, for messages
cd "$FAMILY"
source "$ROOT/scripts/environment.sh"
source "$ROOT/scripts/lanes.sh"
export NO_ALBUMENTATIONS_UPDATE=1 PYTHONUNBUFFERED=1

# Options of every script.
SIZE=full    # full, small or demo
DATA=""      # the data folder
DATA_GUIDE=data/README.md  # says how the data folder is laid out
RUN=""       # the run's name: results go to FOLDER/results/RUN; empty at full size
JOBS=""      # scripts that run at the same time; see set_jobs
GPUS=""      # separated by commas, one for each job
DRY_RUN=0    # 1: only show the commands

say() { printf '%s\n' "$@"; }  # one line for each argument
fail() { printf '%s: %s\n' "$SELF" "$*" >&2; exit 1; }
usage_error() { printf '%s: %s; bash %s --help lists the options\n' "$SELF" "$*" "$PREFIX$SELF" >&2; exit 2; }

common_option() {  # ARGUMENT...: reads the first option; CONSUMED is the number of arguments that it took
  CONSUMED=2
  case $1 in
    --data)
      require_value "$@"
      DATA=$(from_caller "$2") ;;
    --jobs)
      require_value "$@"
      require_count "--jobs" "$2"
      JOBS=$2 ;;
    --gpus)
      require_value "$@"
      GPUS=$2
      case ",$GPUS," in *,,* | *' '*) usage_error "--gpus $GPUS: separate numbers by commas, such as 0,1" ;; esac ;;
    --small) CONSUMED=1; [ "$SIZE" = demo ] || SIZE=small ;;
    --demo) CONSUMED=1 SIZE=demo ;;
    --dry-run) CONSUMED=1 DRY_RUN=1 ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$SELF"; exit ;;
    *) usage_error "unknown option $1" ;;
  esac
}

require_value() {  # OPTION [VALUE]...
  case ${2:-} in '' | --*) usage_error "$1 needs a value" ;; esac
}

require_count() {  # NAME VALUE
  case $2 in *[!0-9]* | 0*) usage_error "$1 $2: give a number, 1 or more" ;; esac
}

require_number() {  # NAME VALUE
  local number='^[0-9]*[.]?[0-9]+(e-?[0-9]+)?$'
  [[ $2 =~ $number ]] || usage_error "$1 $2: give a number, such as 0.5"
}

require_word() {  # NAME VALUE WORD...
  local word
  for word in "${@:3}"; do
    if [ "$word" = "$2" ]; then return; fi
  done
  usage_error "$1 $2: choose one of ${*:3}"
}

of_family() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$FAMILY/$1" ;; esac; }  # PATH, for messages

from_caller() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$CALLER/$1" ;; esac; }

set_run() {  # sets DATA, RUN, and RUN_OPTIONS: the options that every Python script of this run gets
  case $SIZE in small | demo) RUN=$SIZE ;; esac
  if [ "$SIZE" = demo ]; then
    [ -z "$DATA" ] || usage_error "--demo makes its own data, in data/demo; to use yours: --small --data $DATA"
    DATA=$FAMILY/data/demo
  fi
  DATA=${DATA:-$FAMILY/data}
  RUN_OPTIONS=(--data "$DATA")
  [ "$SIZE" = full ] || RUN_OPTIONS+=(--small)
  [ "$SIZE" != demo ] || RUN_OPTIONS+=(--run demo)
}

set_jobs() {  # one job for each of --gpus; else NOSEPRINT_JOBS; without a GPU, two of the small ones if they fit
  local gpus
  IFS=, read -r -a gpus <<<"$GPUS"
  if [ -n "$GPUS" ] && [ "${JOBS:-1}" -gt "${#gpus[@]}" ]; then
    usage_error "--jobs $JOBS with --gpus $GPUS: at most one job for each GPU"
  fi
  if [ -n "$JOBS" ]; then return; fi
  JOBS=1
  if [ -n "$GPUS" ]; then JOBS=${#gpus[@]}
  elif [ -n "${NOSEPRINT_JOBS:-}" ]; then
    require_count NOSEPRINT_JOBS "$NOSEPRINT_JOBS"
    JOBS=$NOSEPRINT_JOBS
  elif [ "$SIZE" != full ] && two_fit; then JOBS=2
  fi
}

two_fit() {  # whether cores and memory suffice for two trainings, which do more at a time than one after the other
  local available
  if [ ! -r /proc/meminfo ] || command -v nvidia-smi >/dev/null; then return 1; fi
  available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
  [ "${available:-0}" -ge 8000000 ] && [ "$(getconf _NPROCESSORS_ONLN)" -ge 2 ]
}

need_data() {  # PATH...: what the data folder must contain
  local path missing=""
  [ -d "$DATA" ] || fail "$DATA: no such folder. Put your data there as $DATA_GUIDE says, name another folder with" \
    "--data DIR, or try the method on synthetic data first: bash ${PREFIX}train.sh --demo"
  for path; do [ -e "$DATA/$path" ] || missing="$missing $path"; done
  [ -z "$missing" ] || fail "$DATA lacks$missing. Put your data there as $DATA_GUIDE says, name another folder" \
    "with --data DIR, or try the method on synthetic data first: bash ${PREFIX}train.sh --demo"
}

announce() { [ "$DRY_RUN" = 1 ] || say "$@"; }

run_or_show() {  # COMMAND...
  if [ "$DRY_RUN" = 1 ]; then show_command run "$@"; else "$@"; fi
}

show_command() { local state=$1; shift; printf '%-6s' "$state"; printf ' %q' "$@"; printf '\n'; }
