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
#   --network WHICH   what judges the labels. trained (default at full size): networks that are trained on the images,
#                     each on all folds but the one that it judges; takes an hour or more. frozen (default of --small
#                     and --demo): linear classifiers on features of the network as published
#   --folds K         parts of the images, 5 by default. With --gpus 0,1,... or --jobs N, folds train side by side
#   --rounds N        train and judge again without the suspects, this many times in all. Default: trained 1, frozen 3
#   --remove WHEN     auto (default): leave suspects out only if that helps; always; never
#   --data DIR --from STAGE --to STAGE --only FOLDER... --force --list --dry-run --skip-bad --jobs N --gpus LIST --help:
#                     as in train.sh. -- OPTION...: options of folds/train.py

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"

method() {
  local round fold folds=()
  for ((fold = 0; fold < FOLDS; fold++)); do folds+=("$fold"); done
  lane features
  if is_trained; then
    for ((round = 1; round <= ${ROUNDS:-1}; round++)); do lanes fold "${folds[@]}"; done
  fi
  lane labels
}

features() { step features features/infer.py --reads ${READ[@]+"${READ[@]}"} --makes features.safetensors; }
fold() {  # the training that does not see fold $1
  local before=()
  if [ "$round" -gt 1 ]; then before=(--after "folds/train.py:round$((round - 1))-*"); fi
  step folds folds/train.py --part "round$round-fold$1" --with --folds "$FOLDS" --reads ${READ[@]+"${READ[@]}"} \
    ${before[@]+"${before[@]}"} --makes out_of_fold.safetensors
}
labels() {
  local after=(features/infer.py) with=(--folds "$FOLDS" ${JUDGING[@]+"${JUDGING[@]}"})
  if is_trained; then after+=("folds/train.py:*") with+=(--network trained --rounds "${ROUNDS:-1}")
  elif [ -n "$ROUNDS" ]; then with+=(--rounds "$ROUNDS")
  fi
  step suspects suspects/find.py --with "${with[@]}" --reads ${READ[@]+"${READ[@]}"} --after "${after[@]}" \
    --makes out_of_fold.npz
  step review review/make.py --with "${with[@]}" --after suspects/find.py --makes review.html
}
is_trained() { [ "${NETWORK:-$SIZE}" = trained ] || [ "${NETWORK:-$SIZE}" = full ]; }

make_demo_data() {
  run_or_show python -c 'import sys; from pathlib import Path; from noseprint.data.demo_classes import write_demo_classes
write_demo_classes(Path(sys.argv[1]))' "$DATA"
}

TABLE=() JUDGING=() READ=()
NETWORK="" ROUNDS="" FOLDS=5
own_option() {
  case $1 in
    --table | --image-column | --label-column | --split-column | --group-column) ;;
    --remove | --network | --rounds | --folds) ;;
    *) return 1 ;;
  esac
  require_value "$@"
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
  case $1 in
    --table) TABLE+=("$1" "$(from_caller "$2")") ;;
    --remove) JUDGING+=("$1" "$2") ;;
    --network)
      case $2 in trained | frozen) NETWORK=$2 ;; *) usage_error "--network $2: choose trained or frozen" ;; esac ;;
    --rounds | --folds)
      require_jobs "$1" "$2"
      if [ "$1" = --rounds ]; then ROUNDS=$2; else FOLDS=$2; fi ;;
    *) TABLE+=("$1" "$2") ;;
  esac
}

read_options "$@"
RUN_OPTIONS+=(${TABLE[@]+"${TABLE[@]}"})
for name in train images.csv labels.csv train.csv; do
  if [ -e "$DATA/$name" ]; then READ+=("$name"); fi
done
[ "$SIZE" != demo ] || READ=(train images.csv)
run_method .
method_is_complete || exit 0
say "" "The list, the log, the cleaned table and the page are in $FAMILY/results/$RUN."
