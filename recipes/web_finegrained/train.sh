#!/usr/bin/env bash
# Trains an ensemble for a folder of classes, on the labels that clean.sh left.
#
#   bash recipes/web_finegrained/train.sh --demo                try it on drawn leaves, after clean.sh --demo
#   bash recipes/web_finegrained/train.sh --small --data DIR    small networks, for a machine without a GPU
#   bash recipes/web_finegrained/train.sh [--data DIR]          the networks of the method
#
# DIR holds train/CLASS/*, or a table of images and labels. The networks are judged on val/; without it, a tenth of the
# training images is held out. Each folder's results/RUN gets weights, and logits and features of the images held out,
# of test/ and of unlabelled/. Finished steps whose inputs have not changed are skipped. Interrupted steps resume.
#
#   --labels WHOSE    cleaned (default): the labels that clean.sh left, if it has run; given: those of the data
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     the table and its columns, where their names are not recognised. Images of one group, such as
#                     those of one photographer, are either all trained on or all held out
#   --from STAGE --to STAGE
#                     begin or end with this stage: members, fusion or distil
#   --only FOLDER... --gpus 0,1 --jobs N --check --force --skip-bad --list --dry-run --help
#                     as in train.sh of the checkout
#   -- OPTION...      pass options to the train.py of each member, for example: -- --balance logit-adjustment. With
#                     --only, pass them to the train.py of each folder that it names: --only fusion -- --head conv

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  lanes member "${MEMBERS[@]}"
  lane fusion
  lane distil
}

member() {  # MEMBER
  step members "$1/train.py" --reads ${LEARNED[@]+"${LEARNED[@]}"}
  step members "$1/infer.py" --reads ${ALL[@]+"${ALL[@]}"} --after "$1/train.py" --makes holdout.safetensors
}

distil() {
  step distil distil/train.py --with --members "$MEMBER_LIST" --reads ${ALL[@]+"${ALL[@]}"} \
    --after "${MEMBERS[@]/%//train.py}"
  step distil distil/infer.py --reads ${ALL[@]+"${ALL[@]}"} --after distil/train.py --makes holdout.safetensors
}

fusion() {
  step fusion fusion/train.py --with --members "$MEMBER_LIST" --reads ${LEARNED[@]+"${LEARNED[@]}"} \
    --after "${MEMBERS[@]/%//train.py}" --makes head.safetensors
  step fusion fusion/infer.py --reads ${ALL[@]+"${ALL[@]}"} --after fusion/train.py "${MEMBERS[@]/%//infer.py}" \
    --makes holdout.safetensors
}

demo_options() { [ "$1" = fusion ] || echo --epochs 6 --batch-size 32 --image-size 96 --train-size 96; }  # FOLDER

takes_options() { [ "$ONLY" = 1 ] || contains "$1" "${MEMBERS[@]}"; }  # FOLDER

LABELS=cleaned
own_option() {
  if table_option "$@"; then return; fi
  [ "$1" = --labels ] || return 1
  require_value "$@"
  case $2 in cleaned | given) ;; *) usage_error "--labels $2: choose cleaned or given" ;; esac
  # shellcheck disable=SC2034  # read_options reads it
  LABELS=$2 CONSUMED=2
}

read_options "$@"
set_options
RUN_OPTIONS+=(--labels "$LABELS")
CLEANED=$FAMILY/results${RUN:+/$RUN}/labels.csv
if [ "$LABELS" = given ] || [ ! -f "$CLEANED" ]; then CLEANED=""; fi
LEARNED=(${READ_LEARNED[@]+"${READ_LEARNED[@]}"} ${CLEANED:+"$CLEANED"})
ALL=(${READ_ALL[@]+"${READ_ALL[@]}"} ${CLEANED:+"$CLEANED"})
if [ "$LABELS" = cleaned ] && [ -z "$CLEANED" ]; then
  say "The labels are those of the data: clean.sh has not run with the same options."
fi
run_method .
method_is_complete || exit 0
[ "$SKIP_BAD" = 0 ] || RUN_OPTIONS+=(--skip-bad)
run_or_show python report/make.py "${RUN_OPTIONS[@]}" --members "$MEMBER_LIST"
say_next predict.sh
