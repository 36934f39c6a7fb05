#!/usr/bin/env bash
# Trains the whole method: pseudo-labels, then four networks, each in two stages.
#
#   bash train.sh --demo                five-minute tour on synthetic nose prints, no GPU needed
#   bash train.sh --small --data DIR    small networks, for a machine without a GPU
#   bash train.sh [--data DIR]          the method at full size (its authors: 27 h on one RTX 3090)
#
# What is finished and has not changed is skipped; what was interrupted resumes.
#
#   --data DIR        the photographs and their tables, laid out as data/README.md says (default: data)
#   --from STEP       begin with STEP: pseudo, stage1 or stage2
#   --to STEP         end with STEP
#   --only FOLDER...  only these folders, for example: --only swin224_stage1 v2_stage1
#   --gpus 0,1        these GPUs, one process each
#   --jobs N          networks trained at the same time (default: 1, or one a GPU)
#   --check           look at the tables and photographs, report all that is wrong, train nothing
#   --force           run again what is finished
#   --skip-bad        train without the photographs that are missing or broken, and list them
#   --dry-run         show every command and whether it would run; change nothing
#   --help            this text
#   -- OPTION...      goes to each train.py, for example: -- --epochs 10

source "$(dirname "$0")/scripts/common.sh"
source scripts/step.sh

DEMO_ARGS=(--epochs 2 --batch-size 32 --lr 5e-4 --image-size 128 --train-size 128)  # drawn prints lose by larger images

# The method. Each line is a step, followed by the steps whose result it starts from.

pseudo_labels() {
  step pseudo_produce/train.py
  step pseudo_produce/pseudo.py pseudo_produce/train.py
}

network() {
  step "$1_stage1/train.py" pseudo_produce/pseudo.py
  step "$1_stage2/train.py" pseudo_produce/pseudo.py "$1_stage1/train.py"
}

# The command line.

FROM=1 TO=3 ONLY="" FORCE=0 SKIP_BAD=0 CHECK=0
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --from) take_value "$@"; FROM=$(step_number "$VALUE"); shift 2 ;;
    --to) take_value "$@"; TO=$(step_number "$VALUE"); shift 2 ;;
    --only) ONLY=" "; shift ;;
    [!-]*) add_only "$1"; shift ;;
    --check) CHECK=1; shift ;;
    --force) FORCE=1; shift ;;
    --skip-bad) SKIP_BAD=1; shift ;;
    *) shared_option "$@"; shift "$TAKEN" ;;
  esac
done
[ "$FROM" -le "$TO" ] || wrong_option "--from lies after --to"
[ "$ONLY" != " " ] || wrong_option "--only needs folders"
settle_size
settle_jobs
TRAIN=("${RUN[@]}")  # what each train.py is given
[ "$SIZE" != demo ] || TRAIN+=("${DEMO_ARGS[@]}")
for word in "${@:2}"; do
  case ${word%%=*} in
    --) wrong_option "-- stands once" ;;
    --run | --small | --data | --restart | -h | --help) wrong_option "$word cannot go after --: it would train something else" ;;
  esac
done
[ $# -eq 0 ] || TRAIN+=("${@:2}")

# The work.

if [ "$CHECK" = 1 ]; then
  set_up requirements.txt
  perform python -m noseprint check "$DATA"
  exit
fi
[ "$SIZE" = demo ] || need_data train/train_data.csv validation/valid_data.csv test/test_data.csv
set_up requirements.txt
[ "$SIZE" != demo ] || perform python -m noseprint demo-data "$DATA"

COUNTING=1
pseudo_labels
for name in $MEMBERS; do network "$name"; done
COUNTING=0
[ "${#STEPS[@]}" != 0 ] || wrong_option "--only, --from and --to leave nothing to run"

in_lanes 1 pseudo_labels pseudo_produce
networks=()
for name in $MEMBERS; do
  if selected "${name}_stage1" || selected "${name}_stage2"; then networks+=("$name"); fi
done
[ "${#networks[@]}" = 0 ] || in_lanes "$JOBS" network "${networks[@]}"

if [ "$TO" != 3 ] || [ -n "$ONLY" ]; then exit; fi
[ "$SIZE" = demo ] || make_report --no-scores
predict=(bash predict.sh)
case $SIZE in
  demo) predict+=(--demo) ;;
  small) predict+=(--small --data "$DATA") ;;
  full) predict+=(--data "$DATA") ;;
esac
[ "$JOBS" = 1 ] || predict+=(--jobs "$JOBS")
[ -z "$GPUS" ] || predict+=(--gpus "$GPUS")
if [ "$DRY" = 1 ]; then
  show run "${predict[@]}"
elif [ "$SIZE" = demo ]; then
  exec "${predict[@]}"
else
  show "Trained. Next:" "${predict[@]}"
fi
