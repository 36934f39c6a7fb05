#!/usr/bin/env bash
# Computes the similarity of each test pair with weights that you put into ckpts/, and fuses them into
# final_result.csv. Nothing is trained. ckpts/README.md lists the file names.
#
#   bash predict_ckpt.sh [--data DIR]
#
#   --data DIR        the data folder; only its test/ is needed (default: data)
#   --ckpts DIR       the folder with the weights (default: ckpts)
#   --members LIST    use these of swin224,swin384,v2,b7ns, separated by commas (default: all that have weights)
#   --method METHOD   mean: mean of the similarities (default); rank: mean of their ranks;
#                     calibrated: mean of their log-odds
#   --skip-bad        go on without missing or broken photographs: their pairs get no answer
#   --gpus 0,1        use these GPUs, one job on each
#   --jobs N          run N networks at the same time (default: as in train.sh)
#   --dry-run         show every command; change nothing
#   --help            show this text

source "$(dirname "$0")/scripts/common.sh"
source "$ROOT/scripts/nose_prints.sh"

METHOD=mean LIST="" CKPTS=$ROOT/ckpts SKIP_BAD=0
while [ $# -gt 0 ]; do
  case $1 in
    --ckpts) require_value "$@"; CKPTS=$(from_caller "$2"); shift 2 ;;
    --members) require_value "$@"; LIST=$2; shift 2 ;;
    --method) require_value "$@"; METHOD=$2; shift 2 ;;
    --small | --demo) usage_error "$1 is not needed here: the weights say which network they are for" ;;
    --skip-bad) SKIP_BAD=1; shift ;;
    *) common_option "$@"; shift "$CONSUMED" ;;
  esac
done
check_method "$METHOD"
select_members "$LIST"
set_run
set_jobs
RUN=ckpts

file_names() {  # MEMBER: the names that its weights may have
  local published=$1
  [ "$1" != v2 ] || published=effv2l
  printf '%s\n' "${published}_stage2.pth" "${published}_stage2.safetensors"
  [ "$1" != v2 ] || printf '%s\n' v2_stage2.safetensors
}

weights_of() {  # MEMBER: prints the path of its weights, or nothing
  local name files=()
  for name in $(file_names "$1"); do
    [ ! -f "$CKPTS/$name" ] || files+=("$CKPTS/$name")
  done
  [ "${#files[@]}" -le 1 ] || fail "there are several weights files for $1; keep one of them: ${files[*]}"
  [ "${#files[@]}" = 0 ] || printf '%s' "${files[0]}"
}

need_data test/test_data.csv
members=()
for member in "${SELECTED_MEMBERS[@]}"; do
  weights=$(weights_of "$member")
  if [ -n "$weights" ]; then
    say "$member: $weights"
    members+=("$member")
  else
    say "$member: missing ($(file_names "$member" | paste -sd' ' -))"
    [ -z "$LIST" ] || fail "--members asks for $member, but its weights are not in $CKPTS"
  fi
done
[ "${#members[@]}" -gt 0 ] || fail "there are no weights in $CKPTS: put one or more of the files named above there" \
  "(ckpts/README.md says more)"
set_up_python requirements.txt
lock_answer

infer_with_weights() { infer "$1" --weights "$(weights_of "$1")" --run "$RUN"; }
run_in_lanes "$JOBS" infer_with_weights "${members[@]}"
say "No verifier is made: it is unknown which photographs these weights were not trained on."
fuse "$METHOD" "${members[@]}"
score "${members[@]}"
