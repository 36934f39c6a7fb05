#!/usr/bin/env bash
# Trains several networks to tell the classes of a tree apart, and chooses which of them answer together.
#
#   bash recipes/product_hierarchy/train.sh --demo                try it on drawn goods: no GPU, a few minutes
#   bash recipes/product_hierarchy/train.sh --small --data DIR    without a GPU: EfficientNet-Lite0, 1 and 2
#   bash recipes/product_hierarchy/train.sh [--data DIR]          the five networks of the method
#
# DIR holds train/CLASS/*, or a table of images and labels; fetch.sh fills it from lists of URLs. The networks are
# chosen on val/; without it, a tenth of the training images is held out. The tree is in tree.csv, or in columns of the
# table. Each network is trained in cycles, and its weights at the end of each cycle are kept. Finished steps whose
# inputs have not changed are skipped. Interrupted steps resume.
#
#   --members LIST    the networks, separated by commas. Default: resnet50,resnet101,resnet152,densenet161,seresnext50;
#                     with --small lite0,lite1,lite2
#   --lr RATE         the peak learning rate of all networks. auto (the default): a short test finds one for each of
#                     them; results/RUN/lr_range.png shows it
#   --levels LIST     the columns of the table that are coarser classes, separated by commas. Default: those that have
#                     one value for each class
#   --tree FILE       the tree: a row for each class and a column for each level, or the columns class and parent.
#                     Default: tree.csv in DIR, if the table has no levels
#   --right SHARE     how many of the answers must be right (default: 0.95). Where a class is not likely enough for
#                     that, the answer is its parent in the tree
#   --least-side N    leave out training images whose shorter side has fewer pixels (default: 32)
#   --table FILE --image-column C --label-column C --split-column C --group-column C
#                     the table and its columns, where their names are not recognised. Images of one group, such as
#                     those of one photographer, are never on both sides of the hold-out
#   --from STAGE --to STAGE
#                     begin or end with this stage: filter, lr_range, members, select or report
#   --only FOLDER... --gpus 0,1 --jobs N --check --force --skip-bad --list --dry-run --help
#                     as in train.sh of the checkout
#   -- OPTION...      pass options to members/train.py, for example: -- --balance weighted --epochs 12

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source options.sh

method() {
  set_members
  lane filter
  if [ "$RATE" = auto ]; then
    lanes lr_range "${MEMBERS[@]}"
    lane lr_curves
  fi
  lanes member "${MEMBERS[@]}"
  lane select_members
  lane report
}

filter() {
  step filter filter/filter.py --with ${FILTER[@]+"${FILTER[@]}"} ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} \
    --reads ${READ_ALL[@]+"${READ_ALL[@]}"} --makes images.csv
}

lr_range() {  # NAME
  local own=()
  read -r -a own <<<"$(demo_options)"
  step lr_range members/find_rate.py --part "$1" \
    --with ${own[@]+"${own[@]}"} ${TRAIN_OPTIONS[@]+"${TRAIN_OPTIONS[@]}"} \
    --reads ${READ_LEARNED[@]+"${READ_LEARNED[@]}"} --after filter/filter.py --makes lr_range.json
}

lr_curves() {
  step lr_range members/draw_rates.py --with --members "$MEMBER_LIST" \
    --after "members/find_rate.py:*" --makes /lr_range.json
}

member() {  # NAME
  local rate=(--lr "$RATE") after=(filter/filter.py)
  if [ "$RATE" = auto ]; then
    rate=(--lr-file "$FAMILY/members/results${RUN:+/$RUN}/$1/lr_range.json")
    after+=("members/find_rate.py:$1")
  fi
  step members members/train.py --part "$1" --with "${rate[@]}" \
    --reads ${READ_LEARNED[@]+"${READ_LEARNED[@]}"} --after "${after[@]}"
}

select_members() {
  step select select/choose.py \
    --with --members "$MEMBER_LIST" ${TREE_OPTIONS[@]+"${TREE_OPTIONS[@]}"} ${SELECT[@]+"${SELECT[@]}"} \
    --reads ${READ_LEARNED[@]+"${READ_LEARNED[@]}"} ${TREE:+"$TREE"} \
    --after filter/filter.py "members/train.py:*" --makes /selection.json
}

report() {
  step report report/make.py --reads ${READ_LEARNED[@]+"${READ_LEARNED[@]}"} ${TREE:+"$TREE"} \
    --after filter/filter.py select/choose.py --makes /report.html
}

check_data() {
  set_members
  describe_data
  run_or_show python filter/filter.py "${RUN_OPTIONS[@]}" ${DATA_OPTIONS[@]+"${DATA_OPTIONS[@]}"} --check
}

describe_data() {  # refuses what later steps would refuse, before the first ones take hours
  local own=()
  [ "$RATE" = auto ] || own=(--lr "$RATE")
  check_options members/train.py --part "${MEMBERS[0]}" ${own[@]+"${own[@]}"} \
    ${TRAIN_OPTIONS[@]+"${TRAIN_OPTIONS[@]}"}
  check_options select/choose.py --members "$MEMBER_LIST" ${TREE_OPTIONS[@]+"${TREE_OPTIONS[@]}"} \
    ${SELECT[@]+"${SELECT[@]}"}
  [ "$CHECK" = 1 ] ||
    python filter/filter.py "${RUN_OPTIONS[@]}" ${DATA_OPTIONS[@]+"${DATA_OPTIONS[@]}"} --check-tree ||
    fail "nothing was started"
}

demo_options() {
  [ "$SIZE" != demo ] || echo --epochs 12 --batch-size 32 --image-size 96 --train-size 96
}

RATE=auto FILTER=() SELECT=()
own_option() {
  if table_option "$@" || tree_option "$@"; then return; fi
  case $1 in
    --members | --lr | --right | --least-side) require_value "$@" ;;
    *) return 1 ;;
  esac
  case $1 in
    --members) MEMBER_LIST=$2 ;;
    --lr)
      case $2 in auto | [0-9.]*) ;; *) usage_error "--lr $2: give a number, or auto" ;; esac
      RATE=$2 ;;
    --right) SELECT+=("$1" "$2") ;;
    --least-side) FILTER+=("$1" "$2") ;;
  esac
  # shellcheck disable=SC2034  # read_options reads it
  CONSUMED=2
}

read_options "$@"
case " ${TRAIN_OPTIONS[*]-} " in *" --lr "* | *" --lr="*) usage_error "--lr cannot follow --: give it before" ;; esac
set_options
DATA_OPTIONS=(
  ${FILTER[@]+"${FILTER[@]}"} ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} ${TREE_OPTIONS[@]+"${TREE_OPTIONS[@]}"}
)
run_method .
method_is_complete || exit 0
[ "$SIZE" != demo ] || continue_with predict.sh
say_next predict.sh
