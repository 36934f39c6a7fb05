#!/usr/bin/env bash
# Embeds photographs with the network that train.sh chose.
#
#   bash recipes/universal_embedding/predict.sh --demo                after train.sh --demo
#   bash recipes/universal_embedding/predict.sh --small --data DIR    the test photographs of DIR, after train.sh
#   bash recipes/universal_embedding/predict.sh --small --images FOLDER --out FILE.safetensors    any photographs
#
# The file is a gallery, which noseprint search takes. Each row has at most the --dim dimensions of train.sh and length
# 1; both are checked. For the test photographs the file is recipes/universal_embedding/results/RUN/test.safetensors,
# and prediction.csv beside it names what each query finds in the index.
#
#   --views LIST        average the embeddings of these views, separated by commas: plain (default), mirrored, centre
#                       (the middle 0.9 of each side), padded (with its proportions)
#   --images FOLDER     embed these photographs instead
#   --out FILE.safetensors
#                       write the embeddings of --images here
#   --skip-bad          leave out photographs in --images that cannot be read, and list them in FILE.skipped.csv
#   --dry-run --help    as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source options.sh

IMAGES="" OUT="" EMBED=()
while [ $# -gt 0 ]; do
  CONSUMED=2
  case $1 in
    --images) require_value "$@"; IMAGES=$(from_caller "$2") EMBED+=("$1" "$IMAGES") ;;
    --out) require_value "$@"; OUT=$(from_caller "$2") EMBED+=("$1" "$OUT") ;;
    --views) require_value "$@"; EMBED+=("$1" "$2") ;;
    --skip-bad) EMBED+=("$1") CONSUMED=1 ;;
    *) common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
case ${IMAGES:+images}:${OUT:+out} in
  images: | :out) usage_error "--images FOLDER and --out FILE.safetensors belong together" ;;
esac
set_run
weights=results${RUN:+/$RUN}/best.safetensors
[ "$DRY_RUN" = 1 ] || [ -f "$weights" ] || fail "$FAMILY/$weights is missing: run train.sh with the same options first"
set_up_python requirements.txt
[ "$DRY_RUN" = 1 ] || lock_folder "results${RUN:+/$RUN}" "$SELF" || fail "nothing was started"
run_or_show python predict/embed.py "${RUN_OPTIONS[@]}" ${EMBED[@]+"${EMBED[@]}"}
