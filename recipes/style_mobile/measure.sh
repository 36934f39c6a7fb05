#!/usr/bin/env bash
# Measures how fast the exported networks answer on this CPU, and how often they are right.
#
#   bash recipes/style_mobile/measure.sh --demo                after train.sh --demo, which runs it at its end
#   bash recipes/style_mobile/measure.sh --small --data DIR    after train.sh --small
#
# OpenVINO is measured at every size and in every precision that train.sh exported, ONNX Runtime at every size in
# float32, and torch at the size of the training, on the small copies of the held-out photographs. They take turns, so
# that a busy machine slows all alike. The table is printed, and written to
# recipes/style_mobile/results/RUN/pareto.csv; pareto.png beside it shows it.
#
#   --threads N       CPU threads for each (default: 1)
#   --most N          at most this many photographs (default: 200)
#   --rounds N        how often each classifies all of them (default: 3)
#   --weight W        weight of the speed in the score, in 0..1 (default: 0.3); the rest is that of the accuracy
#   --enough N        images per second beyond which more speed is worth nothing (default: 100)
#   --split SPLIT     other photographs, such as test; their labels must be known (default: val, those held out)
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     change nothing here, since train.sh has read the table: its command may be repeated
#   --dry-run --help  as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source options.sh

OPTIONS=() SPLIT=val
while [ $# -gt 0 ]; do
  CONSUMED=2
  case $1 in
    --threads | --most | --rounds) require_value "$@"; require_count "$1" "$2"; OPTIONS+=("$1" "$2") ;;
    --weight | --enough) require_value "$@"; require_number "$1" "$2"; OPTIONS+=("$1" "$2") ;;
    --split) require_value "$@"; require_word "$1" "$2" train val test; SPLIT=$2 ;;
    *) table_option "$@" || common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
set_run
run=${RUN:+/$RUN}
exported=deploy/results$run
[ "$DRY_RUN" = 1 ] || [ -f "$exported/precisions.csv" ] ||
  fail "$FAMILY/$exported/precisions.csv is missing, so the export has not finished: run train.sh with the same options first"
set_up_python requirements.txt
run_or_show python -c 'import sys; from pathlib import Path; from noseprint.command_line import friendly_errors
from noseprint.data.prepared import read_prepared
with friendly_errors():  # says which photographs have changed since they were prepared
    read_prepared(Path(sys.argv[1])).originals(sys.argv[2], Path(sys.argv[3]))' "prepare/results$run" "$SPLIT" "$DATA"
run_or_show python -m noseprint.cli benchmark "$exported" "finish/results$run/proof/best.safetensors" \
  --data "prepare/results$run" --group-column group --split "$SPLIT" --out "results$run" ${OPTIONS[@]+"${OPTIONS[@]}"}
