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
#   --data DIR --from STAGE --to STAGE --only FOLDER... --force --list --dry-run --skip-bad --help: as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"

method() {
  lane labels
}

labels() {
  step features features/infer.py --reads ${READ[@]+"${READ[@]}"} --makes features.safetensors
  step suspects suspects/find.py --reads ${READ[@]+"${READ[@]}"} --after features/infer.py --makes out_of_fold.npz
  step review review/make.py --after suspects/find.py --makes review.html
}

make_demo_data() {
  run_or_show python -c 'import sys; from pathlib import Path; from noseprint.data.demo_classes import write_demo_classes
write_demo_classes(Path(sys.argv[1]))' "$DATA"
}

OWN=() READ=()
own_option() {
  case $1 in
    --table | --image-column | --label-column | --split-column | --group-column | --remove | --rounds | --folds) ;;
    *) return 1 ;;
  esac
  require_value "$@"
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
  if [ "$1" = --table ]; then
    OWN+=("$1" "$(from_caller "$2")")
  else
    OWN+=("$1" "$2")
  fi
}

read_options "$@"
RUN_OPTIONS+=(${OWN[@]+"${OWN[@]}"})
for name in train images.csv labels.csv train.csv; do
  if [ -e "$DATA/$name" ]; then READ+=("$name"); fi
done
[ "$SIZE" != demo ] || READ=(train images.csv)
run_method .
method_is_complete || exit 0
say "" "The list, the log, the cleaned table and the page are in $FAMILY/results/$RUN."
