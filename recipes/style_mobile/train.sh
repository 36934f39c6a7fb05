#!/usr/bin/env bash
# Trains a small, fast classifier for a folder of classes, alone or taught by a larger network.
#
#   bash recipes/style_mobile/train.sh --demo                try it on drawn leaves: no GPU, a few minutes
#   bash recipes/style_mobile/train.sh --small --data DIR    without a GPU: EfficientNet-Lite0, without a teacher
#   bash recipes/style_mobile/train.sh [--data DIR]          MobileNetV3-small, taught by EfficientNet-B1
#
# DIR holds train/CLASS/*, or a table of images and labels. The networks are judged on val/; without it, a fifth of the
# training images is held out. Each folder's results/RUN gets its weights. Finished steps whose inputs have not changed
# are skipped. Interrupted steps resume.
#
#   --targets WHAT    what the student learns of each image. argmax: four fifths its label, one fifth the teacher's most
#                     probable class. probabilities: one fifth all of the teacher's probabilities instead. labels: its
#                     label alone, and no teacher is trained, except for --kd. Default: argmax, as published; with
#                     --small labels; with --demo probabilities
#   --kd              also train a second student, for which the teacher of fold 0 classifies the images of each step:
#                     nine tenths of its loss compare it with the teacher, one tenth with its targets. These are the
#                     labels, unless --targets is given. The better student is taken
#   --backbone NAME --backbone-weights FILE
#                     the student's network, as timm calls it (name.tag), and its pretrained weights, if timm cannot
#                     download them
#   --image-size N    the side in pixels that the student is trained for. Default: 224; with --small 192. For a larger
#                     side, the images are prepared again, and the teachers trained again
#   --size N --precision P
#                     the side in pixels and the precision (float32, bf16 or int8) of the network in the bundle; choose
#                     them from the table of measure.sh. Default: as trained, and the fastest precision that loses
#                     little
#   --most-loss SHARE how much lower the accuracy of a lower precision may be (default: 0.005)
#   --right SHARE     how many of the answers must be right (default: 0.95). Where this is not likely enough, the answer
#                     is "cannot tell"
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     the table and its columns, where their names are not recognised. Images of one group, such as
#                     those of one photographer, are never in two folds, nor on both sides of the hold-out
#   --from STAGE --to STAGE
#                     begin or end with this stage: prepare, teacher, student, finish or deploy
#   --only FOLDER... --gpus 0,1 --jobs N --check --force --skip-bad --list --dry-run --help
#                     as in train.sh of the checkout
#   -- OPTION...      pass options to the train.py of the students, for example: -- --mixing cutmix. With --only, to
#                     that of each folder named: --targets probabilities --only teacher -- --epochs 10, and then
#                     --targets probabilities --from student

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  lane prepare
  if needs_teacher; then lanes teacher 0 1 2 3 4; fi
  lanes student "${STUDENTS[@]}"
  lane finish
  lane deploy
}

prepare() {
  step prepare prepare/prepare.py \
    --with ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} ${SIZE_OF_COPIES[@]+"${SIZE_OF_COPIES[@]}"} \
    --reads ${READ_ALL[@]+"${READ_ALL[@]}"} --makes images.csv
}

teacher() {  # FOLD
  step teacher teacher/train.py --part "fold$1" --reads "$PREPARED/images" \
    --after prepare/prepare.py --makes out_of_fold.safetensors
}

student() {  # FOLDER
  local after=(prepare/prepare.py) own=()
  if needs_teacher; then after+=("teacher/train.py:*"); fi
  [ "$1 ${TARGETS:-$SIZE}" != "student demo" ] || own=(--targets probabilities)
  step student "$1/train.py" --with ${own[@]+"${own[@]}"} ${STUDENT[@]+"${STUDENT[@]}"} \
    --reads "$PREPARED/images" ${WEIGHTS:+"$WEIGHTS"} --after "${after[@]}"
}

finish() {
  step finish finish/train.py --with --students "$(IFS=,; printf '%s' "${STUDENTS[*]}")" \
    --reads "$PREPARED/images" --after prepare/prepare.py "${STUDENTS[@]/%//train.py}"
}

deploy() {
  local run=${RUN:+/$RUN}
  if [ "$MODE" = run ] && [ "$DRY_RUN" = 0 ] && [ ! -f "results$run/bundle/bundle.json" ]; then
    rm -f "deploy/results$run/export.done"  # so that a lost bundle is made again
  fi
  step deploy deploy/export.py --with ${EXPORT[@]+"${EXPORT[@]}"} \
    --reads "$PREPARED/images" --after prepare/prepare.py finish/train.py --makes precisions.csv
}

describe_data() {  # refuses what the last steps would refuse, before the first ones take hours
  local folder
  check_options deploy/export.py ${EXPORT[@]+"${EXPORT[@]}"}
  for folder in "${STUDENTS[@]}"; do
    check_options "$folder/train.py" ${STUDENT[@]+"${STUDENT[@]}"} ${TRAIN_OPTIONS[@]+"${TRAIN_OPTIONS[@]}"}
  done
  [ -z "$BACKBONE" ] || python -c 'import sys
from noseprint.command_line import friendly_errors
from noseprint.errors import NoseprintError
from noseprint.models.backbone import has_fixed_size
backbone, trained, exported = sys.argv[1:]
with friendly_errors():
    if has_fixed_size(backbone) and exported not in ("", trained):
        problem = f"{backbone} answers only at the size that it is trained for: give --image-size"
        raise NoseprintError(f"--size {exported}: {problem}")
' "$BACKBONE" "$TRAINED" "$EXPORTED" || fail "nothing was started"
}

needs_teacher() {
  case ${TARGETS:-$SIZE} in labels | small) [ "${#STUDENTS[@]}" -gt 1 ] ;; esac
}

demo_options() {  # FOLDER
  case $1 in
    teacher) echo --epochs 3 --batch-size 32 --image-size 96 --train-size 96 ;;
    student | student_kd)
      echo --epochs 8 --batch-size 32 --image-size "${IMAGE_SIZE:-96}" --train-size "${IMAGE_SIZE:-96}" ;;
  esac
}

takes_options() { [ "$ONLY" = 1 ] || contains "$1" "${STUDENTS[@]}"; }  # FOLDER

TARGETS="" STUDENTS=(student) STUDENT=() BACKBONE="" WEIGHTS="" IMAGE_SIZE="" SIZE_OF_COPIES=() EXPORTED="" EXPORT=()
own_option() {
  if table_option "$@"; then return; fi
  case $1 in
    --kd) STUDENTS=(student student_kd); return ;;
    --targets | --backbone | --backbone-weights | --image-size | --size | --precision | --most-loss | --right) ;;
    *) return 1 ;;
  esac
  require_value "$@"
  case $1 in
    --targets)
      require_word "$1" "$2" labels argmax probabilities
      TARGETS=$2 STUDENT+=("$1" "$2") ;;
    --backbone) BACKBONE=$2 STUDENT+=("$1" "$2") ;;
    --backbone-weights)
      WEIGHTS=$(from_caller "$2")
      [ -f "$WEIGHTS" ] || usage_error "$1 $2: there is no such file"
      STUDENT+=("$1" "$WEIGHTS") ;;
    --image-size)
      require_count "$1" "$2"
      IMAGE_SIZE=$2 STUDENT+=(--image-size "$2" --train-size "$2") ;;
    --size) require_count "$1" "$2"; EXPORTED=$2 EXPORT+=("$1" "$2") ;;
    --precision) require_word "$1" "$2" float32 bf16 int8; EXPORT+=("$1" "$2") ;;
    *) require_number "$1" "$2"; EXPORT+=("$1" "$2") ;;
  esac
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
}

read_options "$@"
set_options
[ "$SIZE" != demo ] || EXPORT+=(--sizes "64,96")
largest=224; [ "$SIZE" = full ] || largest=192  # side that the images of prepare.py are large enough for
TRAINED=${IMAGE_SIZE:-$largest}; [ "$SIZE" != demo ] || TRAINED=${IMAGE_SIZE:-96}
[ "${IMAGE_SIZE:-0}" -le "$largest" ] || SIZE_OF_COPIES=(--image-size "$IMAGE_SIZE")
run_method .
method_is_complete || exit 0
[ "$SIZE" != demo ] || continue_with measure.sh
say_next measure.sh
say_next predict.sh
