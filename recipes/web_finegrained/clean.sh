#!/usr/bin/env bash
# Finds wrong labels in a folder of classes, and leaves out those that harm.
#
#   bash recipes/web_finegrained/clean.sh --demo                try it on drawn leaves, a fifth of them labelled wrongly
#   bash recipes/web_finegrained/clean.sh --small --data DIR    a small network, for a machine without a GPU
#   bash recipes/web_finegrained/clean.sh [--data DIR]          the network of the method
#
# DIR holds train/CLASS/*, or a table of images and labels. Images never move. recipes/web_finegrained/results/RUN gets
# suspects.csv (every training image, the most suspicious first), decisions.jsonl (what was decided, line by line),
# labels.csv (the cleaned table), classes.csv (classes to look at) and review.html (a page to decide for yourself).
# Decisions from that page count when the same command runs again.
#
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     the table and its columns, where their names are not recognised. Images of one group, such as
#                     those of one photographer, are judged by a classifier that saw none of them
#   --rule RULE       how a label becomes suspect: noise-channel (default), top-k, confident-learning, self-confidence,
#                     margin, aum, or agreement, which is at least two of them; README.md compares them
#   --remove WHEN     auto (default): leave suspects out only if that helps; always; never
#   --most-of-class S rules leave out at most this share of a class (default: 0.5)
#   --network WHICH   what judges the labels. frozen (default): linear classifiers on the features of a network with its
#                     public weights. trained: a network for each fold, which takes hours; --jobs N or --gpus 0,1 trains
#                     them side by side, and options after -- go to their train.py
#   --share S         the share of the images in the page's random sample (default: 0.05); it has at least 60 images
#   --folds N         parts of the images, each judged by a classifier trained on the others (default: 5)
#   --rounds N        frozen: at most N rounds of the coarse step, and N of the fine one (default: 5). trained: train N
#                     times, each time without the suspects of the time before (default: 1)
#   --not-members DIR pictures that are no member of any class: more of their kind are looked for and left out. Images
#                     that people marked with n on the page are examples, too; without an example, none are looked for
#   --from STAGE --to STAGE
#                     begin or end with this stage: features, not-members (with examples), folds (with
#                     --network trained), suspects, classes or review
#   --data DIR --only FOLDER... --check --force --list --dry-run --skip-bad --help
#                     as in train.sh of the checkout

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  local round fold folds=()
  for ((fold = 0; fold < FOLDS; fold++)); do folds+=("$fold"); done
  lane look
  if is_trained; then
    for ((round = 1; round <= ${ROUNDS:-1}; round++)); do lanes fold "${folds[@]}"; done
  fi
  lane judge
}

look() {
  step features features/infer.py --reads ${READ_TRAIN[@]+"${READ_TRAIN[@]}"} --makes features.safetensors
  [ "$MODE" = declare ] || looks_for_not_members || return 0
  step not-members features/examples.py --with ${EXAMPLES[@]+"${EXAMPLES[@]}"} --reads ${SHOWN[@]+"${SHOWN[@]}"} \
    --after features/infer.py --makes examples.safetensors
  step not-members not_members/find.py --with --folds "$FOLDS" ${RULES[@]+"${RULES[@]}"} \
    --reads ${DECIDED[@]+"${DECIDED[@]}"} --after features/infer.py features/examples.py --makes not_members.csv
}

fold() {  # FOLD: train on the others, in the current round
  local after=(features/infer.py)
  if [ "$round" -gt 1 ]; then after+=("folds/train.py:round$((round - 1))-*"); fi
  step folds folds/train.py --part "round$round-fold$1" --with --folds "$FOLDS" \
    --reads ${READ_TRAIN[@]+"${READ_TRAIN[@]}"} --after "${after[@]}" --makes out_of_fold.safetensors
}

judge() {
  local after=(features/infer.py) with=(--folds "$FOLDS" ${RULES[@]+"${RULES[@]}"})
  if looks_for_not_members; then after+=(not_members/find.py); fi
  if is_trained; then after+=("folds/train.py:*") with+=(--trained-rounds "${ROUNDS:-1}")
  elif [ -n "$ROUNDS" ]; then with+=(--rounds "$ROUNDS")
  fi
  step suspects suspects/find.py --with "${with[@]}" --reads ${DECIDED[@]+"${DECIDED[@]}"} \
    --after "${after[@]}" --makes out_of_fold.npz
  step classes classes/list.py --with "${with[@]}" --after suspects/find.py --makes /classes.csv
  step review review/make.py --with "${with[@]}" ${SHARE[@]+"${SHARE[@]}"} --after suspects/find.py --makes /review.html
}

# Whether there are examples of pictures that are no member of any class, or lines about such pictures in the log.
looks_for_not_members() {
  [ "${#EXAMPLES[@]}" != 0 ] || grep -q '"not a member"' "results${RUN:+/$RUN}/decisions.jsonl" 2>/dev/null
}

is_trained() { [ "$NETWORK" = trained ]; }

# What people decided, without what rules did: the steps that depend on it run again when it changes.
collect_decisions() {
  local log=$RESULTS/decisions.jsonl
  DECIDED=()
  [ -f "$log" ] || return 0
  if [ "$DRY_RUN" = 0 ]; then sed '/"who": "rule"/d' "$log" >"$RESULTS/decided_by_people.jsonl"; fi
  if [ -s "$RESULTS/decided_by_people.jsonl" ]; then DECIDED=("$RESULTS/decided_by_people.jsonl"); fi
}

# The results of one run are those of one data folder: its path is kept beside them.
warn_of_other_data() {
  local note=$RESULTS/data_folder.txt
  if [ -f "$note" ] && [ "$(cat "$note")" != "$DATA" ]; then
    say "Caution: $RESULTS holds results for $(cat "$note"). Decisions about images of the same name count for this" \
      "folder, too. If it is not the same folder, moved: use another checkout, or move these results away."
  fi
  mkdir -p "$RESULTS"
  printf '%s\n' "$DATA" >"$note"
}

EXAMPLES=() SHOWN=() RULES=() SHARE=() DECIDED=() READ_TRAIN=()
NETWORK=frozen FOLDS=5 ROUNDS=""
own_option() {
  local value
  if table_option "$@"; then return; fi
  case $1 in
    --not-members | --rule | --remove | --most-of-class | --network | --folds | --rounds | --share) ;;
    *) return 1 ;;
  esac
  require_value "$@"
  value=$2
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
  case $1 in
    --not-members)
      value=$(from_caller "$value")
      [ -d "$value" ] && [ -n "$(ls "$value")" ] || usage_error "$1 $value: name a folder with photographs in it"
      EXAMPLES=("$1" "$value") SHOWN=("$value") ;;
    --network)
      case $value in trained | frozen) ;; *) usage_error "--network $value: choose trained or frozen" ;; esac
      NETWORK=$value ;;
    --folds)
      require_count "$@"
      [ "$value" -ge 3 ] || usage_error "$1 $value: must be at least 3, since the guard cleans without one of them"
      FOLDS=$value ;;
    --rounds) require_count "$@"; ROUNDS=$value ;;
    --share) require_share "$@"; SHARE=("$1" "$value") ;;
    *)
      case $1:$value in
        --most-of-class:*) require_share "$@" ;;
        --remove:auto | --remove:always | --remove:never) ;;
        --remove:*) usage_error "$1 $value: choose auto, always or never" ;;
        --rule:noise-channel | --rule:top-k | --rule:confident-learning | --rule:self-confidence) ;;
        --rule:margin | --rule:aum | --rule:agreement) ;;
        --rule:*) usage_error "$1 $value: there is no such rule" ;;
      esac
      RULES+=("$1" "$value") ;;
  esac
}

require_share() {  # NAME VALUE
  local share='^(0?\.[0-9]*[1-9][0-9]*|1(\.0*)?)$'
  [[ $2 =~ $share ]] || usage_error "$1 $2: give a share above 0 and at most 1, such as 0.5"
}

read_options "$@"
[ "${#TRAIN_OPTIONS[@]}" = 0 ] || is_trained ||
  usage_error "options after -- need --network trained: without it, no network is trained"
set_options
RESULTS=$FAMILY/results${RUN:+/$RUN}
collect_decisions
if [ "$DRY_RUN" = 0 ] && [ "$CHECK" = 0 ]; then warn_of_other_data; fi
run_method .
if ! method_is_complete || [ "$DRY_RUN" = 1 ]; then exit 0; fi

# What was found, and what comes next.
say ""
cat "$RESULTS/summary.txt"
say "Classes with few images or in disorder: $(($(wc -l <"$RESULTS/classes.csv") - 1)), listed in" \
  "$RESULTS/classes.csv." "" \
  "Open $RESULTS/review.html in a browser. Decide about the random sample and the suspects; e downloads. Then:"
show_command "" noseprint labels add review-decisions.jsonl --who NAME --log "$RESULTS/decisions.jsonl" \
  --data "$DATA" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"}
say "Run this command again: your decisions count, and the page shows what is left."
say_next train.sh
say "It trains on $RESULTS/labels.csv."
