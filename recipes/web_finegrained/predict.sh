#!/usr/bin/env bash
# Classifies images with the networks that train.sh trained.
#
#   bash recipes/web_finegrained/predict.sh --demo                after train.sh --demo
#   bash recipes/web_finegrained/predict.sh --small --data DIR    the images in DIR/test, after train.sh --small
#   bash recipes/web_finegrained/predict.sh --small --data DIR --images FOLDER --out FILE.csv    any photographs
#
# The answer has a row image,label,probability for each image. The probabilities are calibrated on the images that were
# held out from the training: of the answers with 0.8, about 80 % are right. The answer for test/ is
# recipes/web_finegrained/results/RUN/prediction.csv; report.html beside it shows how good it is.
#
#   --members LIST    use these networks, separated by commas (default: b4,b5). distil and fusion are two more, if they
#                     have been trained: --members b4,b5,fusion
#   --method METHOD   mean: mean of the probabilities (default); vote: what most networks answer; greedy: mean of those
#                     that help on the images held out; fusion: the head that fusion/train.py trained
#   --prior exactly-N-each
#                     each class is known to have N of the images; a wrong prior does harm
#   --capacity N      with --prior: no class gets more images than this; needs OR-Tools for many images
#   --images FOLDER   classify these photographs instead. Those that cannot be read are listed in FILE.skipped.csv
#   --out FILE.csv    write the answer for --images here
#   --labels WHOSE    as in train.sh: cleaned (default) or given
#   --table FILE --image-column C --label-column C --split-column C --group-column C --gpus 0,1 --jobs N --skip-bad
#   --dry-run --help  as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source options.sh

IMAGES="" OUT="" LABELS=cleaned METHOD=mean ANSWER=() REPORT=()
while [ $# -gt 0 ]; do
  CONSUMED=2
  case $1 in
    --members) require_value "$@"; IFS=, read -r -a MEMBERS <<<"$2" ;;
    --method) require_value "$@"; METHOD=$2 ;;
    --capacity | --prior) require_value "$@"; ANSWER+=("$1" "$2") ;;
    --images) require_value "$@"; IMAGES=$(from_caller "$2") ANSWER+=("$1" "$(from_caller "$2")") ;;
    --out) require_value "$@"; OUT=$(from_caller "$2") ANSWER+=("$1" "$(from_caller "$2")") ;;
    --labels) require_value "$@"; LABELS=$2 ;;
    --skip-bad) REPORT=(--skip-bad) CONSUMED=1 ;;
    *) table_option "$@" || common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
case $METHOD in
  mean | greedy | vote | fusion) ;;
  *) usage_error "--method $METHOD: choose mean, greedy, vote or fusion" ;;
esac
case $LABELS in cleaned | given) ;; *) usage_error "--labels $LABELS: choose cleaned or given" ;; esac
case ${IMAGES:+images}:${OUT:+out} in
  images: | :out) usage_error "--images FOLDER and --out FILE.csv belong together" ;;
esac
[ -z "$IMAGES" ] || [ -e "$IMAGES" ] || usage_error "--images $IMAGES: name a folder with photographs in it"
case $OUT in '' | *.csv) ;; *) usage_error "--out $OUT: give a file name that ends in .csv" ;; esac
[ -z "$OUT" ] || [ -d "${OUT%/*}" ] || usage_error "--out $OUT: the folder ${OUT%/*} is missing; make it first"
[ "${#MEMBERS[@]}" != 0 ] || usage_error "--members: name at least one network, such as b4"
for member in "${MEMBERS[@]}"; do
  case $member in
    '' | . | .. | */* | *' '*) usage_error "--members '$member': give names of folders, with commas and no blanks" ;;
  esac
  [ -f "$member/infer.py" ] ||
    usage_error "--members $member: there is no such network; b4, b5, distil and fusion are there"
done
set_run
set_jobs
set_options
[ -d "$DATA" ] || fail "$DATA is missing: name the data folder of the training with --data DIR"

results_of() { printf '%s' "$1/results${RUN:+/$RUN}"; }  # FOLDER

infer() {  # FOLDER: classify the photographs in IMAGES
  run_script "$(results_of "$1")/images.safetensors" "$1/infer.py" "${RUN_OPTIONS[@]}" --labels "$LABELS" \
    --images "$IMAGES" --skip-bad
}

networks=() fused=""  # the fusion answers from the features of the others, so it comes last and needs them all
for member in "${MEMBERS[@]}"; do
  case $member in fusion) fused=1 ;; *) networks+=("$member") ;; esac
done
[ "$METHOD" != fusion ] || fused=1
train=$(say_next train.sh)
for member in ${networks[@]+"${networks[@]}"}; do
  weights=$(results_of "$member")/best.safetensors
  [ "$DRY_RUN" = 1 ] || [ -f "$weights" ] ||
    fail "$(of_family "$weights") is missing. Make it with:${train#Next:}, or leave it out with --members"
done
set_up_python requirements.txt
[ "$DRY_RUN" = 1 ] || lock_folder "results${RUN:+/$RUN}" "$SELF" || fail "nothing was started"

if [ -n "$IMAGES" ]; then
  announce "Classifying the photographs in $IMAGES ..."
  run_or_show rm -f ./*/results"${RUN:+/$RUN}"/images.safetensors  # of other photographs
  for member in "${ALL_MEMBERS[@]}"; do
    if [ -n "$fused" ]; then case " ${networks[*]-} " in *" $member "*) ;; *) networks+=("$member") ;; esac; fi
  done
  run_in_lanes "$JOBS" infer ${networks[@]+"${networks[@]}"}
  [ -z "$fused" ] || run_in_lanes 1 infer fusion
fi
answer=(python predict/answer.py "${RUN_OPTIONS[@]}" --labels "$LABELS" --method "$METHOD")
answer+=(--members "$(IFS=,; printf '%s' "${MEMBERS[*]}")" ${ANSWER[@]+"${ANSWER[@]}"})
run_or_show "${answer[@]}"
[ -z "$IMAGES" ] || exit 0

run_or_show python report/make.py "${RUN_OPTIONS[@]}" --labels "$LABELS" \
  --members "$(IFS=,; printf '%s' "${MEMBERS[*]}")" ${REPORT[@]+"${REPORT[@]}"}
announce "The answer, with one row for each test image, is in $FAMILY/results/${RUN:+$RUN/}prediction.csv." \
  "Next, classify your own photographs: the same command with --images FOLDER --out FILE.csv"
