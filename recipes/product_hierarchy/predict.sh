#!/usr/bin/env bash
# Classifies images with the networks that train.sh chose.
#
#   bash recipes/product_hierarchy/predict.sh --demo                after train.sh --demo
#   bash recipes/product_hierarchy/predict.sh --small --data DIR    the test images of DIR, after train.sh --small
#   bash recipes/product_hierarchy/predict.sh --small --images FOLDER --out FILE.csv    any photographs
#
# The table has a row image,label,probability,answer,level for each image. The answer is the deepest node of the tree
# that is sure enough: the class, else its parent, and so on up to "cannot tell". The table of the test images is
# recipes/product_hierarchy/results/RUN/prediction.csv. submission.csv beside it has the columns id,predicted, with the
# three most probable classes of each image, and report.html shows how good the answers are.
#
#   --level NAME        the level of label and probability: a level of the tree, such as coarse (default: class)
#   --decide HOW        likeliest (default): the most probable class; least-risk: the class that is expected to be
#                       nearest to the right one in the tree
#   --tta               also classify the mirror image, and average the two: takes twice the time
#   --top N             classes for each image in submission.csv (default: 3)
#   --sample FILE       submission.csv has exactly the ids of this CSV, in their order
#   --images FOLDER     classify these photographs instead. Those that cannot be read are listed in FILE.skipped.csv
#   --out FILE.csv      write the answer for --images here
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                       as in train.sh: they say which images are the test images
#   --dry-run --help    as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source options.sh

IMAGES="" OUT="" ANSWER=()
while [ $# -gt 0 ]; do
  CONSUMED=2
  case $1 in
    --images) require_value "$@"; IMAGES=$(from_caller "$2") ANSWER+=("$1" "$IMAGES") ;;
    --out) require_value "$@"; OUT=$(from_caller "$2") ANSWER+=("$1" "$OUT") ;;
    --sample) require_value "$@"; ANSWER+=("$1" "$(from_caller "$2")") ;;
    --level | --decide | --top) require_value "$@"; ANSWER+=("$1" "$2") ;;
    --tta) ANSWER+=("$1") CONSUMED=1 ;;
    *) table_option "$@" || common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
case ${IMAGES:+images}:${OUT:+out} in
  images: | :out) usage_error "--images FOLDER and --out FILE.csv belong together" ;;
esac
set_run
set_options
selection=results${RUN:+/$RUN}/selection.json
[ "$DRY_RUN" = 1 ] || [ -f "$selection" ] ||
  fail "$FAMILY/$selection is missing: run train.sh with the same options first"
set_up_python requirements.txt
[ "$DRY_RUN" = 1 ] || lock_folder "results${RUN:+/$RUN}" "$SELF" || fail "nothing was started"
run_or_show python predict/answer.py "${RUN_OPTIONS[@]}" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} \
  ${ANSWER[@]+"${ANSWER[@]}"}
[ -z "$IMAGES" ] || exit 0

run_or_show python report/make.py "${RUN_OPTIONS[@]}"
