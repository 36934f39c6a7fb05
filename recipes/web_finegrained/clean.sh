#!/usr/bin/env bash
# Finds wrong labels in a folder of classes, and leaves out those that harm.
#
#   bash recipes/web_finegrained/clean.sh --demo                try it on drawn leaves, a fifth of them labelled wrongly
#   bash recipes/web_finegrained/clean.sh --small --data DIR    a small network, for a machine without a GPU
#   bash recipes/web_finegrained/clean.sh [--data DIR]          the network of the method
#
# DIR holds train/CLASS/*, or a table of images and labels. Images never move. recipes/web_finegrained/results/RUN gets
# suspects.csv (every training image, the most suspicious first), decisions.jsonl (what was decided, line by line),
# labels.csv (the cleaned table) and review.html (a page to decide for yourself).
#
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     the table and its columns, where their names are not recognised. Images of one group, such as
#                     those of one photographer, are judged by a network that saw none of them
#   --remove WHEN     auto (default): leave suspects out only if that helps; always; never
#   --data DIR --from STAGE --to STAGE --only FOLDER... --check --force --list --dry-run --skip-bad --help: as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  lane labels
}

labels() {
  step features features/infer.py --reads ${READ_TRAIN[@]+"${READ_TRAIN[@]}"} --makes features.safetensors
  step suspects suspects/find.py --reads ${READ_TRAIN[@]+"${READ_TRAIN[@]}"} --after features/infer.py --makes out_of_fold.npz
  step review review/make.py --after suspects/find.py --makes review.html
}

OWN=()
own_option() {
  if table_option "$@"; then return; fi
  case $1 in --remove | --rounds | --folds) ;; *) return 1 ;; esac
  require_value "$@"
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
  OWN+=("$1" "$2")
}

read_options "$@"
set_inputs
RUN_OPTIONS+=(${OWN[@]+"${OWN[@]}"})
run_method .
method_is_complete || exit 0
say "" "The list, the log, the cleaned table and the page are in $FAMILY/results/$RUN."
say_next train.sh
