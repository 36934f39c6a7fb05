#!/usr/bin/env bash
# Computes the similarity of each test pair with the networks that train.sh trained, and fuses them into
# final_result.csv. Then makes the verifier for noseprint verify from the held-out photographs, and writes the report.
#
#   bash predict.sh [--data DIR]            after bash train.sh
#   bash predict.sh --small --data DIR      after bash train.sh --small
#
#   --data DIR        the data folder, as for train.sh (default: data)
#   --small, --demo   use the networks of train.sh --small or of train.sh --demo
#   --members LIST    use these networks, separated by commas (default: swin224,swin384,v2,b7ns)
#   --method METHOD   mean: mean of the similarities (default); rank: mean of their ranks;
#                     calibrated: mean of their log-odds
#   --skip-bad        go on without missing or broken photographs: their pairs get no answer
#   --gpus 0,1        use these GPUs, one job on each
#   --jobs N          run N networks at the same time (default: as in train.sh)
#   --dry-run         show every command; change nothing
#   --help            show this text

source "$(dirname "$0")/scripts/common.sh"
source "$ROOT/scripts/nose_prints.sh"

METHOD=mean LIST="" SKIP_BAD=0
while [ $# -gt 0 ]; do
  case $1 in
    --members) require_value "$@"; LIST=$2; shift 2 ;;
    --method) require_value "$@"; METHOD=$2; shift 2 ;;
    --skip-bad) SKIP_BAD=1; shift ;;
    *) common_option "$@"; shift "$CONSUMED" ;;
  esac
done
check_method "$METHOD"
select_members "$LIST"
set_run
set_jobs
need_data test/test_data.csv

case $SIZE in
  demo) train="bash train.sh --demo" ;;
  small) train="bash train.sh --small --data $(printf %q "$DATA")" ;;
  full) train="bash train.sh --data $(printf %q "$DATA")" ;;
esac
for member in "${SELECTED_MEMBERS[@]}"; do
  results=${member}_stage2/results${RUN:+/$RUN}
  [ -f "$results/best.safetensors" ] || fail "$results/best.safetensors is missing. Make it with: $train" \
    "(or leave this network out with --members)"
  [ ! -f "$results/train.inputs" ] || say "Note: the training of ${member}_stage2 is not finished."
done
set_up_python requirements.txt
lock_answer

run_in_lanes "$JOBS" infer "${SELECTED_MEMBERS[@]}"
fuse "$METHOD" "${SELECTED_MEMBERS[@]}"
verifier_made=1
make_verifier "${SELECTED_MEMBERS[@]}" || verifier_made=0  # the scores do not depend on it
score "${SELECTED_MEMBERS[@]}"
[ "$verifier_made" = 1 ] || fail "wrote the answer and the report, but made no verifier; the message above says why"

if [ "$SIZE" = demo ] && [ "$DRY_RUN" = 0 ]; then
  say "Next, use your own photographs: one folder for each individual inside photos/ (docs/own_photographs.md)."
  [ ! -f .venv/bin/activate ] || say "  source .venv/bin/activate"
  say "  noseprint import photos data/mine" \
    "  bash train.sh --small --data data/mine     small networks, no GPU; without --small the method at full size" \
    "  bash predict.sh --small --data data/mine"
fi
