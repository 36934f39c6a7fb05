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
#                     those of one photographer, are judged by a network that saw none of them
#   --rule RULE       how a label becomes suspect: noise-channel (default), top-k, confident-learning, self-confidence,
#                     margin, aum, or agreement, which is at least two of them; README.md compares them
#   --remove WHEN     auto (default): leave suspects out only if that helps; always; never
#   --most-of-class S leave out at most this share of a class by rules (default: 0.5)
#   --rounds N        at most N rounds of the coarse step, and N of the fine one (default: 5)
#   --folds N         parts of the images, each judged by a classifier trained on the others (default: 5)
#   --not-members DIR pictures that are no member of any class: more of their kind are looked for and left out
#   --data DIR --from STAGE --to STAGE --only FOLDER... --force --list --dry-run --skip-bad --help: as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"

method() {
  [ "${#BASE[@]}" != 0 ] || BASE=("${RUN_OPTIONS[@]}" ${TABLE[@]+"${TABLE[@]}"})
  lane labels
}

labels() {  # a step gets only the options that it depends on: another --rule must not compute the features again
  RUN_OPTIONS=("${BASE[@]}")
  step features features/infer.py --reads ${READ[@]+"${READ[@]}"} --makes features.safetensors
  RUN_OPTIONS+=(${EXAMPLES[@]+"${EXAMPLES[@]}"})
  step target features/examples.py --reads ${SHOWN[@]+"${SHOWN[@]}"} \
    --after features/infer.py --makes examples.safetensors
  RUN_OPTIONS=("${BASE[@]}" ${RULES[@]+"${RULES[@]}"})
  step target target/find.py --reads ${DECIDED[@]+"${DECIDED[@]}"} \
    --after features/infer.py features/examples.py --makes target.csv
  step suspects suspects/find.py --reads ${DECIDED[@]+"${DECIDED[@]}"} \
    --after features/infer.py target/find.py --makes out_of_fold.npz
  step classes classes/list.py --after suspects/find.py --makes classes.csv
  step review review/make.py --after suspects/find.py --makes review.html
}

make_demo_data() {
  run_or_show python -c 'import sys; from pathlib import Path; from noseprint.data.demo_classes import write_demo_classes
write_demo_classes(Path(sys.argv[1]))' "$DATA"
}

# What people decided, without what rules did: the steps that depend on it run again when it changes.
collect_decisions() {
  local log=$RESULTS/decisions.jsonl
  DECIDED=()
  [ -f "$log" ] || return 0
  if [ "$DRY_RUN" = 0 ]; then grep -v '"who": "rule"' "$log" >"$RESULTS/decided_by_people.jsonl" || true; fi
  if [ -s "$RESULTS/decided_by_people.jsonl" ]; then DECIDED=("$RESULTS/decided_by_people.jsonl"); fi
}

TABLE=() EXAMPLES=() SHOWN=() RULES=() READ=() DECIDED=() BASE=()
own_option() {
  local value=${2:-}
  case $1 in
    --table | --not-members) value=$(from_caller "$value") ;;
    --image-column | --label-column | --split-column | --group-column) ;;
    --rule | --remove | --most-of-class | --rounds | --folds) ;;
    *) return 1 ;;
  esac
  require_value "$@"
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
  case $1 in
    --not-members) EXAMPLES=("$1" "$value") SHOWN=("$value") ;;
    --table) TABLE+=("$1" "$value") READ+=("$value") ;;
    --*-column) TABLE+=("$1" "$value") ;;
    *) RULES+=("$1" "$value") ;;
  esac
}

read_options "$@"
RESULTS=$FAMILY/results${RUN:+/$RUN}
for name in train images.csv labels.csv train.csv; do
  if [ -e "$DATA/$name" ]; then READ+=("$name"); fi
done
[ "$SIZE" != demo ] || READ=(train images.csv)
collect_decisions
run_method .
if ! method_is_complete || [ "$DRY_RUN" = 1 ]; then exit 0; fi

# What was found, and what comes next.
say ""
cat "$RESULTS/summary.txt"
say "$(($(wc -l <"$RESULTS/classes.csv") - 1)) classes have few images or are in disorder: $RESULTS/classes.csv" "" \
  "Next:" "1. Open $RESULTS/review.html in a browser. Decide about the random sample and the suspects; e downloads."
show_next() { printf '%s' "$1"; shift; printf ' %q' "$@"; printf '\n'; }
show_next "2." noseprint labels add review-decisions.jsonl --who NAME --log "$RESULTS/decisions.jsonl" \
  --data "$DATA" ${TABLE[@]+"${TABLE[@]}"}
say "   Then run this command again: your decisions count, and the page shows what is left."
case $SIZE in
  demo) show_next "3." bash "${PREFIX}train.sh" --demo ;;
  small) show_next "3." bash "${PREFIX}train.sh" --small --data "$DATA" ${TABLE[@]+"${TABLE[@]}"} ;;
  *) show_next "3." bash "${PREFIX}train.sh" --data "$DATA" ${TABLE[@]+"${TABLE[@]}"} ;;
esac
say "   It trains on $RESULTS/labels.csv."
