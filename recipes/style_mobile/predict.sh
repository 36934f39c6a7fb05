#!/usr/bin/env bash
# Classifies images with the network that train.sh exported.
#
#   bash recipes/style_mobile/predict.sh --demo                after train.sh --demo
#   bash recipes/style_mobile/predict.sh --small --data DIR    the test images of DIR, after train.sh --small
#   bash recipes/style_mobile/predict.sh --small --images FOLDER --out FILE.csv    any photographs
#
# The answer is a table with a row image,label,probability,decision for each image. The decision is the label or, if the
# probability is too low, "cannot tell". For the test images, the table is
# recipes/style_mobile/results/RUN/prediction.csv.
#
#   --images FOLDER     classify these photographs instead. Those that cannot be read are listed in FILE.skipped.csv
#   --out FILE.csv      write the answer for --images here
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                       change nothing here, since train.sh has read the table: its command may be repeated
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
    *) table_option "$@" || common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
case ${IMAGES:+images}:${OUT:+out} in
  images: | :out) usage_error "--images FOLDER and --out FILE.csv belong together" ;;
esac
set_run
bundle=results${RUN:+/$RUN}/bundle
[ "$DRY_RUN" = 1 ] || [ -d "$bundle" ] || fail "$FAMILY/$bundle is missing: run train.sh with the same options first"
set_up_python requirements.txt
[ "$DRY_RUN" = 1 ] || lock_folder "results${RUN:+/$RUN}" "$SELF" || fail "nothing was started"
run_or_show python predict/answer.py "${RUN_OPTIONS[@]}" ${ANSWER[@]+"${ANSWER[@]}"}
