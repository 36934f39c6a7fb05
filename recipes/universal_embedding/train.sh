#!/usr/bin/env bash
# Trains one small embedding for photographs of many kinds of things, and says in which domains training helped.
#
#   bash recipes/universal_embedding/train.sh --demo                try it on drawn things: no GPU, a few minutes
#   bash recipes/universal_embedding/train.sh --small --data DIR    without a GPU: EfficientNet-Lite0, 1 and 2
#   bash recipes/universal_embedding/train.sh [--data DIR]          ViT-H/14 of CLIP
#
# DIR holds photographs and the table images.csv: image,identity,domain,part,role. An identity of the part train is in
# no other part. In the part test, role says which photographs are searched for (query) and which can be found (index).
# A fifth of the training identities is held out, unless there is a part val. The first stages keep the features of the
# pretrained backbones and fit a projection of them; then the backbones are trained. The embedding that is best on the
# held-out identities becomes results/RUN/best.safetensors, which noseprint embed and noseprint search take. scores.csv
# has the scores of all embeddings that were compared.
# Finished steps whose inputs have not changed are skipped. Interrupted steps resume.
#
#   --dim N           the most dimensions that the embedding may have (default: 64)
#   --backbones LIST  the pretrained networks, separated by commas. Default: vit_h; with --small lite0,lite1,lite2.
#                     frozen/model.py has more
#   --weights NAME=FILE
#                     the pretrained weights of the backbone NAME, if timm cannot download them; may be repeated
#   --method NAME     how the backbones are trained: published (default), second, layerwise, lp-ft, joint or small (the
#                     default with --small), see phases/phases.py; none: they stay as they are
#   --large           train further at a higher resolution (see large/phases.py); the default with --method published
#   --take WHAT       best (default): the embedding that is best on the held-out identities. frozen: a PCA of the best
#                     frozen backbone. mixture: a quarter of the dimensions from that PCA, the rest from the best
#   --table FILE      the table, if it is not images.csv in DIR
#   --from STAGE --to STAGE
#                     begin or end with this stage: prepare, frozen, head, phases, large, reduce or report
#   --only FOLDER... --gpus 0,1 --jobs N --check --force --skip-bad --list --dry-run --help
#                     as in train.sh of the checkout
#   -- OPTION...      pass options to phases/train.py and large/train.py, for example: -- --floor 10 --seed 1

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  local pair
  set_backbones
  for pair in ${WEIGHTS[@]+"${WEIGHTS[@]}"}; do
    contains "${pair%%=*}" "${BACKBONES[@]}" ||
      usage_error "--weights $pair: there is no backbone ${pair%%=*} in $BACKBONE_LIST"
  done
  case ${METHOD:-$SIZE} in
    full) METHOD=published ;;
    small | demo) METHOD=${METHOD:-$SIZE} ;;
  esac
  lane prepare
  lanes frozen "${BACKBONES[@]}"
  lanes project "${BACKBONES[@]}"
  if [ "$METHOD" != none ]; then
    lanes train_backbone "${BACKBONES[@]}"
    if is_large; then lanes train_larger "${BACKBONES[@]}"; fi
  fi
  lane choose
  lane report
}

prepare() {
  step prepare prepare/prepare.py --with ${TABLE:+--table "$TABLE"} --reads . ${TABLE:+"$TABLE"} --makes instances.csv
}

frozen() {  # BACKBONE
  local file own=()
  file=$(weights_of "$1")
  [ -z "$file" ] || own=(--backbone-weights "$file")
  [ "$SIZE" != demo ] || own+=(--image-size 160)
  step frozen frozen/embed.py --part "$1" --with ${own[@]+"${own[@]}"} --reads . ${file:+"$file"} \
    --after prepare/prepare.py --makes features.safetensors
}

project() {  # BACKBONE
  step head head/train.py --part "$1" --with --dim "$DIM" --after prepare/prepare.py "frozen/embed.py:$1"
}

train_backbone() {  # BACKBONE
  step phases phases/train.py --part "$1" --with --dim "$DIM" --method "$METHOD" --reads . \
    --after prepare/prepare.py "frozen/embed.py:$1" "head/train.py:$1"
}

train_larger() {  # BACKBONE
  step large large/train.py --part "$1" --with --dim "$DIM" --method "$METHOD" --reads . \
    --after prepare/prepare.py "phases/train.py:$1"
}

choose() {
  local after=(prepare/prepare.py "frozen/embed.py:*" "head/train.py:*") stage
  for stage in $(stages_compared | tr , ' '); do
    [ "$stage" = none ] || after+=("$stage/train.py:*")
  done
  step reduce reduce/choose.py --with --dim "$DIM" --parts "$BACKBONE_LIST" --stages "$(stages_compared)" \
    ${TAKE:+--take "$TAKE"} --reads . --after "${after[@]}" --makes /best.safetensors
}

stages_compared() {  # prints the stages that train backbones
  if [ "$METHOD" = none ]; then echo none; elif is_large; then echo phases,large; else echo phases; fi
}

report() {
  step report report/make.py --reads . --after prepare/prepare.py reduce/choose.py --makes /report.html
}

is_large() { [ "$LARGE" = 1 ] || [ "$METHOD" = published ]; }

weights_of() {  # BACKBONE: prints the file that --weights gives it
  local pair
  for pair in ${WEIGHTS[@]+"${WEIGHTS[@]}"}; do
    if [ "${pair%%=*}" = "$1" ]; then from_caller "${pair#*=}"; fi
  done
}

check_data() {
  run_or_show python prepare/prepare.py "${RUN_OPTIONS[@]}" ${TABLE:+--table "$TABLE"} --check
}

describe_data() {  # refuses what later steps would refuse, before the first ones take hours
  check_options reduce/choose.py --dim "$DIM" --parts "$BACKBONE_LIST" ${TAKE:+--take "$TAKE"}
  [ "$METHOD" = none ] || check_options phases/train.py --part "${BACKBONES[0]}" --dim "$DIM" --method "$METHOD" \
    ${TRAIN_OPTIONS[@]+"${TRAIN_OPTIONS[@]}"}
}

demo_options() {  # FOLDER
  case $1 in head) echo --epochs 10 ;; phases) echo --floor 10 ;; esac
}

takes_options() { [ "$ONLY" = 1 ] || [ "$1" != head ]; }  # FOLDER

DIM=64 METHOD="" LARGE=0 TAKE="" WEIGHTS=()
own_option() {
  if table_option "$@"; then return; fi
  case $1 in
    --large) LARGE=1; return ;;
    --dim | --backbones | --weights | --method | --take) require_value "$@" ;;
    *) return 1 ;;
  esac
  case $1 in
    --dim) require_count "$1" "$2"; DIM=$2 ;;
    --backbones) BACKBONE_LIST=$2 ;;
    --weights)
      case $2 in ?*=?*) ;; *) usage_error "$1 $2: give NAME=FILE, such as lite0=lite0.safetensors" ;; esac
      [ -f "$(from_caller "${2#*=}")" ] || usage_error "$1 $2: there is no such file"
      WEIGHTS+=("$2") ;;
    --method) require_word "$1" "$2" published second layerwise lp-ft joint small none; METHOD=$2 ;;
    --take) require_word "$1" "$2" best frozen mixture; TAKE=$2 ;;
  esac
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
}

read_options "$@"
run_method "$([ -n "$TABLE" ] && echo . || echo images.csv)"
method_is_complete || exit 0
if [ "$SIZE" = demo ]; then
  continue_with predict.sh
else
  show_command "Next:" bash "${PREFIX}predict.sh" "${RUN_OPTIONS[@]}"
fi
