#!/usr/bin/env bash
# Scores the test pairs with the networks that train.sh made, and fuses them into final_result.csv; makes from the
# photographs held out of the training what noseprint verify decides by.
#
#   bash predict.sh [--data DIR]            after bash train.sh
#   bash predict.sh --small --data DIR      after bash train.sh --small
#
#   --data DIR        the data folder, as for train.sh (default: data)
#   --small, --demo   the networks of train.sh --small, of train.sh --demo
#   --members LIST    which networks, with commas (default: swin224,swin384,v2,b7ns)
#   --method METHOD   mean of the similarities (the default), of their rank, or calibrated
#   --gpus 0,1        these GPUs, one process each
#   --jobs N          networks at the same time (default: 1, or one a GPU)
#   --dry-run         show every command; change nothing
#   --help            this text

source "$(dirname "$0")/scripts/common.sh"

METHOD=mean LIST=""
while [ $# -gt 0 ]; do
  case $1 in
    --members) take_value "$@"; LIST=$VALUE; shift 2 ;;
    --method) take_value "$@"; METHOD=$VALUE; shift 2 ;;
    *) shared_option "$@"; shift "$TAKEN" ;;
  esac
done
check_method "$METHOD"
pick_members "$LIST"
settle_size
settle_jobs
need_data test/test_data.csv

case $SIZE in
  demo) remedy="bash train.sh --demo" ;;
  small) remedy="bash train.sh --small --data $(printf %q "$DATA")" ;;
  full) remedy="bash train.sh --data $(printf %q "$DATA")" ;;
esac
for member in "${PICKED[@]}"; do
  weights=$(made_by "${member}_stage2/train.py")
  [ -f "$weights" ] || fail "$weights is missing. Make it with: $remedy (or leave it out: --members)"
  [ ! -f "${weights%/*}/train.inputs" ] || say "Note: ${member}_stage2 is not trained to its end."
done
set_up requirements.txt
lock_run

infer() { run_script "$1_stage2/infer.py" "${RUN[@]}"; }
in_lanes "$JOBS" infer "${PICKED[@]}"
fuse "$METHOD" "${PICKED[@]}"
verifier=made
make_verifier "${PICKED[@]}" || verifier=failed  # the scores do not hang on it
score "${PICKED[@]}"
[ "$verifier" = made ] || fail "the answer and the report are made, but no verifier: the message above says why"

if [ "$SIZE" = demo ] && [ "$DRY" = 0 ]; then
  say "Next, your own photographs, a folder for each individual inside photos/ (docs/own_photographs.md):"
  [ ! -f .venv/bin/activate ] || say "  source .venv/bin/activate"
  say "  noseprint import photos data/mine" \
    "  bash train.sh --small --data data/mine     small networks, no GPU needed; without --small the method at full size" \
    "  bash predict.sh --small --data data/mine"
fi
