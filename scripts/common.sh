# shellcheck shell=bash
# What train.sh, predict.sh, predict_ckpt.sh and test.sh share: options, and the way from similarities to the answer.
# All scripts run on bash 3.2, the one of macOS.
set -euo pipefail
unset CDPATH

CALLER=$PWD
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SELF=${0##*/}
MEMBERS="swin224 swin384 v2 b7ns"
cd "$ROOT"
source scripts/environment.sh
source scripts/lanes.sh
export NO_ALBUMENTATIONS_UPDATE=1 PYTHONUNBUFFERED=1

say() { printf '%s\n' "$@"; }  # each argument a line
fail() { printf '%s: %s\n' "$SELF" "$*" >&2; exit 1; }
wrong_option() { printf '%s: %s; bash %s --help lists the options\n' "$SELF" "$*" "$SELF" >&2; exit 2; }

# Options every script has.
SIZE=full  # full, small or demo
DATA=""    # the data folder
NAME=""    # the run: files go to FOLDER/results/NAME; empty at full size
JOBS=""    # lanes working at the same time
GPUS=""    # one a lane, with commas between
DRY=0      # 1: only show the plan

# shellcheck disable=SC2034  # test.sh takes no options and so never asks for TAKEN
shared_option() {  # what is left of the command line: takes its first option, TAKEN says how many words that was
  TAKEN=2
  case $1 in
    --data)
      take_value "$@"
      DATA=$(from_caller "$VALUE") ;;
    --jobs)
      take_value "$@"
      JOBS=$VALUE
      case $JOBS in *[!0-9]* | 0*) wrong_option "--jobs $JOBS: how many at the same time, 1 or more" ;; esac ;;
    --gpus)
      take_value "$@"
      GPUS=$VALUE
      case ",$GPUS," in *,,* | *' '*) wrong_option "--gpus $GPUS: numbers with commas between, such as 0,1" ;; esac ;;
    --small) TAKEN=1; [ "$SIZE" = demo ] || SIZE=small ;;
    --demo) TAKEN=1 SIZE=demo ;;
    --dry-run) TAKEN=1 DRY=1 ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$SELF"; exit ;;
    *) wrong_option "unknown option $1" ;;
  esac
}

take_value() {  # OPTION VALUE...
  case ${2:-} in '' | --*) wrong_option "$1 needs a value" ;; esac
  VALUE=$2
}

from_caller() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$CALLER/$1" ;; esac; }

settle_size() {  # NAME, DATA, and in RUN what every script of the run is given
  case $SIZE in small | demo) NAME=$SIZE ;; esac
  if [ "$SIZE" = demo ]; then
    [ -z "$DATA" ] || wrong_option "--demo makes its own data, in data/demo; for your own: --small --data $DATA"
    DATA=$ROOT/data/demo
  fi
  DATA=${DATA:-$ROOT/data}
  RUN=(--data "$DATA")
  [ "$SIZE" = full ] || RUN+=(--small)
  [ "$SIZE" != demo ] || RUN+=(--run demo)
}

settle_jobs() {  # one process a GPU
  local gpus
  IFS=, read -r -a gpus <<<"$GPUS"
  if [ -n "$GPUS" ] && [ "${JOBS:-1}" -gt "${#gpus[@]}" ]; then
    wrong_option "--jobs $JOBS with --gpus $GPUS: at most one process a GPU"
  fi
  if [ -z "$JOBS" ]; then JOBS=1; [ -z "$GPUS" ] || JOBS=${#gpus[@]}; fi
}

pick_members() {  # LIST with commas, empty for all: sets PICKED, in the method's order
  local name
  for name in ${1//,/ }; do
    case " $MEMBERS " in *" $name "*) ;; *) wrong_option "--members: no member $name, there are $MEMBERS" ;; esac
  done
  PICKED=()
  for name in $MEMBERS; do
    case ",${1:-$name}," in *",$name,"*) PICKED+=("$name") ;; esac
  done
  [ "${#PICKED[@]}" -gt 0 ] || wrong_option "--members needs names"
}

check_method() {
  case $1 in mean | rank | calibrated) ;; *) wrong_option "--method $1: mean, rank or calibrated" ;; esac
}

need_data() {  # TABLE...
  local table missing=""
  for table; do [ -f "$DATA/$table" ] || missing="$missing $table"; done
  [ -z "$missing" ] || fail "$DATA lacks$missing. Put the tables and photographs there as data/README.md says," \
    "name another folder with --data DIR, or see the method work first: bash train.sh --demo"
}

lock_run() {  # from here on no other run answers or reports into results/RUN
  [ "$DRY" = 1 ] || lock_folder "results${NAME:+/$NAME}" "$SELF" || fail "nothing was started"
}

fuse() {  # METHOD MEMBER...: results/RUN/final_result.csv, which no other run overwrites, and the same as final_result.csv
  local method=$1 member fuse=(python -m noseprint fuse)
  shift
  for member; do fuse+=("$(made_by "${member}_stage2/infer.py")"); done
  perform mkdir -p "results/$NAME"
  perform "${fuse[@]}" --pairs "$DATA/test/test_data.csv" --out "results/${NAME:+$NAME/}final_result.csv" --method "$method"
  perform cp "results/${NAME:+$NAME/}final_result.csv" final_result.csv
}

make_verifier() {  # MEMBER...: results/RUN/verifier.json, by which noseprint verify decides
  local calibrate=(python -m noseprint calibrate --data "$DATA" --where-possible)
  [ -z "$NAME" ] || calibrate+=(--run "$NAME")
  announce "Calibrating on the photographs that were held out of the training ..."
  perform "${calibrate[@]}" --members "${@/%/_stage2}"
}

score() {  # MEMBER...: the report, with scores where the data has labels
  local report=()
  [ "$SIZE" != demo ] || report+=(--frozen)
  announce "Scoring, and writing the report ..."
  make_report "${report[@]}" --members "${@/%/_stage2}"
  announce "The answer, one row a test pair, is in $ROOT/final_result.csv, which the next run overwrites, and in" \
    "$ROOT/results/${NAME:+$NAME/}final_result.csv."
}

announce() { [ "$DRY" = 1 ] || say "$@"; }

make_report() {  # OPTION...: results/RUN/report.html
  local report=(python -m noseprint report --data "$DATA")
  [ -z "$NAME" ] || report+=(--run "$NAME")
  perform "${report[@]}" "$@"
}

perform() {  # COMMAND...
  if [ "$DRY" = 1 ]; then show run "$@"; else "$@"; fi
}

show() { local what=$1; shift; printf '%-6s' "$what"; printf ' %q' "$@"; printf '\n'; }
