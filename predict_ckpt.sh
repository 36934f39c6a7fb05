#!/usr/bin/env bash
# Scores the test pairs with weights that lie in ckpts/, downloaded or copied, and fuses them into final_result.csv.
# Nothing is trained. ckpts/README.md says which files it looks for.
#
#   bash predict_ckpt.sh [--data DIR]
#
#   --data DIR        the data folder, of which only test/ is needed (default: data)
#   --ckpts DIR       where the weights lie (default: ckpts)
#   --members LIST    which networks, with commas, of swin224,swin384,v2,b7ns (default: those that are there)
#   --method METHOD   mean of the similarities (the default), of their rank, or calibrated
#   --gpus 0,1        these GPUs, one process each
#   --jobs N          networks at the same time (default: 1, or one a GPU)
#   --dry-run         show every command; change nothing
#   --help            this text

source "$(dirname "$0")/scripts/common.sh"

METHOD=mean LIST="" CKPTS=$ROOT/ckpts
while [ $# -gt 0 ]; do
  case $1 in
    --ckpts) take_value "$@"; CKPTS=$(from_caller "$VALUE"); shift 2 ;;
    --members) take_value "$@"; LIST=$VALUE; shift 2 ;;
    --method) take_value "$@"; METHOD=$VALUE; shift 2 ;;
    --small | --demo) wrong_option "$1: the weights say themselves which network they are" ;;
    *) shared_option "$@"; shift "$TAKEN" ;;
  esac
done
check_method "$METHOD"
pick_members "$LIST"
settle_size
settle_jobs
NAME=ckpts

names_of() {  # MEMBER: the file names its weights may have
  local published=$1
  [ "$1" != v2 ] || published=effv2l
  printf '%s\n' "${published}_stage2.pth" "${published}_stage2.safetensors"
  [ "$1" != v2 ] || printf '%s\n' v2_stage2.safetensors
}

weights_of() {  # MEMBER: its file, or nothing
  local name found=()
  for name in $(names_of "$1"); do
    [ ! -f "$CKPTS/$name" ] || found+=("$CKPTS/$name")
  done
  [ "${#found[@]}" -le 1 ] || fail "there are several weights for $1, keep one of them: ${found[*]}"
  [ "${#found[@]}" = 0 ] || printf '%s' "${found[0]}"
}

need_data test/test_data.csv
members=()
for member in "${PICKED[@]}"; do
  weights=$(weights_of "$member")
  if [ -n "$weights" ]; then
    say "$member: $weights"
    members+=("$member")
  else
    say "$member: missing ($(names_of "$member" | paste -sd' ' -))"
    [ -z "$LIST" ] || fail "--members asks for $member, but its weights are not in $CKPTS"
  fi
done
[ "${#members[@]}" -gt 0 ] || fail "no weights in $CKPTS: put one or more of the files named above there" \
  "(ckpts/README.md says more)"
set_up requirements.txt
lock_run

infer() { run_script "$1_stage2/infer.py" "${RUN[@]}" --weights "$(weights_of "$1")" --run "$NAME"; }
in_lanes "$JOBS" infer "${members[@]}"
say "No verifier is made: which photographs these weights were not trained on is not known here."
fuse "$METHOD" "${members[@]}"
score "${members[@]}"
